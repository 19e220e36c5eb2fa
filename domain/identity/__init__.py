"""People, keys, roles and namespaces."""
