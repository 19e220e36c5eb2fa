"""Pages for people: server-made HTML, our own style, plain ES modules for what must move."""
