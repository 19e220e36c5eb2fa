"""The stack on one machine with no server installed: real PostgreSQL, real Redis, and the Procfile's processes."""

from cli.devstack.errors import CancelledError, NotReadyError, StackError
from cli.devstack.stack import Stack

__all__ = ["CancelledError", "NotReadyError", "Stack", "StackError"]
