"""The state of a step's calls, as far as it is known. Undo, repeat and cancellation depend on it."""

from enum import Enum, auto


class CallState(Enum):
    """A call is open if it may have been carried out, and no step's output says so. A model calls by its tools.

    CLOSED: no call is open. None was sent, or the outcome of each is known, or a model has no tools.
    OPEN: the last call is open. It is under way, or its answer was lost, or cannot be used.
    OPEN_TWICE: the last call is open, and so is an earlier one. If the last one fails, the earlier one stays open.
    OPEN_BEFORE: only an earlier call is open. The next one has not begun, or certainly nothing was sent.
    RETRY: no call is open, and an operator wants another one, beyond the limit of tries.
    REPEAT: a call is open, and an operator wants it repeated, even if it may run twice.
    """

    CLOSED = auto()
    OPEN = auto()
    OPEN_TWICE = auto()
    OPEN_BEFORE = auto()
    RETRY = auto()
    REPEAT = auto()

    @property
    def unanswered(self) -> bool:
        """Whether the last call is open, and no operator wants it repeated."""
        return self in (CallState.OPEN, CallState.OPEN_TWICE)

    @property
    def requeued(self) -> bool:
        """Whether an operator wants another call."""
        return self in (CallState.RETRY, CallState.REPEAT)

    @property
    def may_have_acted(self) -> bool:
        """Whether the last call may have been carried out. Once a step has ended, so may any of its calls."""
        return self.unanswered or self is CallState.REPEAT

    def between(self) -> "CallState":
        """Return the state before the next call begins."""
        return CallState.CLOSED if self in (CallState.CLOSED, CallState.RETRY) else CallState.OPEN_BEFORE

    def begun(self, acts: bool) -> "CallState":
        """Return the state after a call began. `acts`: it may change something."""
        before = self.between()
        if not acts:
            return before
        return CallState.OPEN if before is CallState.CLOSED else CallState.OPEN_TWICE

    def not_sent(self) -> "CallState":
        """Return the state after the last call certainly was not sent."""
        return {CallState.OPEN: CallState.CLOSED, CallState.OPEN_TWICE: CallState.OPEN_BEFORE}.get(self, self)

    def ended(self, acted: bool) -> "CallState":
        """Return the state after the last call ended. `acted`: it may have been carried out."""
        if self in (CallState.OPEN_TWICE, CallState.OPEN_BEFORE, CallState.REPEAT):
            return CallState.OPEN_TWICE
        return CallState.OPEN if acted else CallState.CLOSED

    def wanted(self) -> "CallState":
        """Return the state after an operator requested another call."""
        return CallState.RETRY if self.between() is CallState.CLOSED else CallState.REPEAT
