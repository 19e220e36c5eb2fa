"""Pauses: their states, approval policies, votes and reminders."""
