"""Use cases of webhooks, and the worker's side of their deliveries."""
