"""Errors that keep the stack from running, worded for the person at the terminal."""


class StackError(Exception):
    """The stack cannot start. The message is one line that says what is wrong, where, and what to do."""


class NotReadyError(StackError):
    """A program started but did not become ready. `details` holds the last lines of its log."""

    def __init__(self, message: str, details: list[str]) -> None:
        super().__init__(message)
        self.details = details


class CancelledError(Exception):
    """The user stopped the stack while it was starting."""
