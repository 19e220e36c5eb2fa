"""Concurrent callers share one transaction: who comes first carries out, for all that wait, what all of them want.

A commit costs the same for one row as for twenty, and each statement hands the interpreter over to another thread and
back. So under load a batch is several times faster than so many transactions; and one caller alone waits for nobody.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

from services.kernel.connection_pool import DatabaseUnavailable

WantedT = TypeVar("WantedT")
DoneT = TypeVar("DoneT")

# Callers in one transaction: beyond this a commit is a small part of the cost, and the last one's wait is not.
LIMIT = 50


class Aside(Exception):
    """Instead of an outcome: nothing was done of this one. It waits, or fails, alone, with its own thread."""


class _Caller(Generic[WantedT, DoneT]):
    __slots__ = ("after", "called", "outcome", "wanted")

    def __init__(self, wanted: WantedT) -> None:
        self.wanted = wanted
        self.outcome: DoneT | Exception | None = None
        # Whom to call when called: all at once they would fight for the interpreter, and lose more than they wait.
        self.after: _Caller[WantedT, DoneT] | None = None
        # Held until there is an outcome, or until it is this caller's turn to carry out.
        self.called = threading.Lock()
        self.called.acquire()


class GroupCommit(Generic[WantedT, DoneT]):
    """Args:
    carry_out: does in one transaction what several callers want, and says for each what came of it or why not. It asks
        for what they want when the transaction is open: who came while it was being opened is in it too.
        When it raises, nothing of it was done; each is then tried alone, in its own thread, so that nobody suffers for
        another's. So is one for which it says `Aside`.
    """

    def __init__(self, carry_out: Callable[[Callable[[], Sequence[WantedT]]], Sequence[DoneT | Exception]]) -> None:
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._waiting: deque[_Caller[WantedT, DoneT]] = deque()
        self._busy = False

    def do(self, wanted: WantedT) -> DoneT:
        """Raises what `carry_out` says or raises for this caller."""
        slot: _Caller[WantedT, DoneT] = _Caller(wanted)
        with self._lock:
            self._waiting.append(slot)
            first, self._busy = not self._busy, True
        if not first:
            slot.called.acquire()
            if slot.after is not None:
                slot.after.called.release()
        if slot.outcome is None:
            self._lead()
        if isinstance(slot.outcome, Aside):
            (slot.outcome,) = self._carry_out(lambda: [wanted])
        if isinstance(slot.outcome, Exception):
            raise slot.outcome
        assert slot.outcome is not None, "whoever leads gives everyone in the batch an outcome"
        return slot.outcome

    def _lead(self) -> None:
        batch: list[_Caller[WantedT, DoneT]] = []
        try:
            self._settle(batch)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._busy = following is not None
            if following is not None:
                following.called.release()
            # The first is the one who leads.
            for slot, after in pairwise(batch[1:]):
                slot.after = after
            if len(batch) > 1:
                batch[1].called.release()

    def _settle(self, batch: list[_Caller[WantedT, DoneT]]) -> None:
        """Gives everyone in the batch an outcome; in an empty one, those who have come when they are asked for."""

        def wanted() -> list[WantedT]:
            if not batch:
                with self._lock:
                    batch.extend(self._waiting.popleft() for _ in range(min(LIMIT, len(self._waiting))))
            return [slot.wanted for slot in batch]

        try:
            outcomes = self._carry_out(wanted)
        except Exception as error:
            # Where the database went away, perhaps in the commit: tried again, it might be done twice.
            away = isinstance(error, DatabaseUnavailable) and not error.may_be_a_rows
            several = len(wanted()) > 1
            outcomes = [Aside() if several and not away else error] * len(batch)
        for slot, outcome in zip(batch, outcomes, strict=True):
            slot.outcome = outcome
