"""Use cases of sagas, and the engine that runs their steps."""
