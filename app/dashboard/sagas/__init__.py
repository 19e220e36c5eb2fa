"""Pages of sagas."""
