"""The stack on one machine with no server installed: real PostgreSQL, real Redis, and the Procfile's processes."""

from cli.stack.errors import CancelledError, NotReadyError, StackError
from cli.stack.stack import Stack

__all__ = ["CancelledError", "NotReadyError", "Stack", "StackError"]
