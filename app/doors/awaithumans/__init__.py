"""The door for awaithumans' SDK."""
