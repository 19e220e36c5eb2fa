"""The OpenAPI document, and the decorator of operations that it is generated from."""
