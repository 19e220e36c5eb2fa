"""Pages of reviews and the inbox."""
