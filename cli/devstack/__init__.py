"""The whole stack on one machine: PostgreSQL, Redis and the Procfile's processes, without installed servers."""

from cli.devstack.errors import CancelledError, NotReadyError, StackError
from cli.devstack.stack import Stack

__all__ = ["CancelledError", "NotReadyError", "Stack", "StackError"]
