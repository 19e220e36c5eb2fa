"""Use cases of pauses."""
