"""The commands of `sagahold`."""
