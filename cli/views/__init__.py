"""Views of responses for a terminal."""
