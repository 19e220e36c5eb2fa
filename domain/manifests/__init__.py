"""Manifests: how they are parsed, checked and frozen as definitions."""
