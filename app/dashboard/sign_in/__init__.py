"""Pages to sign in, and a person's own page."""
