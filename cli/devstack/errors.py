"""What can keep the stack from running, in words for the person at the terminal."""


class StackError(Exception):
    """The stack cannot be started as asked. The message is one line: what, where, what to do."""


class NotReadyError(StackError):
    """Something was started and did not come up. `details` are the last lines of its log."""

    def __init__(self, message: str, details: list[str]) -> None:
        super().__init__(message)
        self.details = details


class CancelledError(Exception):
    """The person asked to stop while the stack was still starting."""
