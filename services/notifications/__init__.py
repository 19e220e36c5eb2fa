"""Use cases of notifications, and the worker's side of sending them."""
