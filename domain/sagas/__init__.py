"""Sagas and their steps: states, transitions, compensation and results."""
