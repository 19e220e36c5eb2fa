"""The sign-in pages and a person's account page."""
