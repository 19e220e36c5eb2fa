"""The OpenAPI document, and the decorator that it follows from."""
