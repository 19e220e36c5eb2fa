"""Use cases of manifests and definitions."""
