"""Group commit: concurrent callers share one transaction. The first caller becomes the leader and executes the batch.

A commit costs the same for one row as for twenty, and each statement hands the interpreter to another thread and back.
Under load a batch is several times faster than one transaction per caller. A caller that is alone does not wait.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

from services.kernel.connection_pool import DatabaseUnavailable

log = logging.getLogger(__name__)

WantedT = TypeVar("WantedT")
DoneT = TypeVar("DoneT")

# Callers in one transaction. In a larger batch the commit is a small part of the cost, and the last caller waits long.
LIMIT = 50


class Aside(Exception):
    """An outcome that means: nothing was done for this caller. Its own thread then executes its request alone."""


class _Caller(Generic[WantedT, DoneT]):
    __slots__ = ("next", "outcome", "wanted", "woken")

    def __init__(self, wanted: WantedT) -> None:
        self.wanted = wanted
        self.outcome: DoneT | Exception | None = None
        # The caller to wake next. Woken all at once, they would compete for the interpreter, which costs more time.
        self.next: _Caller[WantedT, DoneT] | None = None
        # Locked until there is an outcome, or until this caller has to lead.
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit(Generic[WantedT, DoneT]):
    """Batches concurrent calls of `do`.

    Args:
        execute: executes the requests of several callers in one transaction. It returns one outcome for each: a result
            or an exception. It fetches the requests, by the function that it is given, once its transaction is open:
            callers that arrive in the meantime join the batch.
            If `execute` raises, its transaction was rolled back, and each caller's own thread executes its request
            alone. So one bad request fails only its caller. The same happens to a request whose outcome is `Aside`.
    """

    def __init__(self, execute: Callable[[Callable[[], Sequence[WantedT]]], Sequence[DoneT | Exception]]) -> None:
        self._execute = execute
        self._lock = threading.Lock()
        self._waiting: deque[_Caller[WantedT, DoneT]] = deque()
        self._busy = False

    def do(self, wanted: WantedT) -> DoneT:
        """Return the result of this request. Raise the exception that `execute` returned or raised for it."""
        (outcome,) = self.do_all([wanted])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def do_all(self, wanted: Sequence[WantedT]) -> list[DoneT | Exception]:
        """Return the result of each request, or the exception that `execute` returned or raised for it."""
        callers: list[_Caller[WantedT, DoneT]] = [_Caller(each) for each in wanted]
        with self._lock:
            self._waiting.extend(callers)
            is_leader, self._busy = not self._busy, True
        # All of them before the first that was set aside, because one of them may have to lead.
        for caller in callers:
            if not is_leader or caller is not callers[0]:
                caller.woken.acquire()
                if caller.next is not None:
                    caller.next.woken.release()
            if caller.outcome is None:
                self._lead()
        return [self._final(caller) for caller in callers]

    def _final(self, caller: "_Caller[WantedT, DoneT]") -> DoneT | Exception:
        if isinstance(caller.outcome, Aside):
            try:
                (caller.outcome,) = self._execute(lambda: [caller.wanted])
            except Exception as error:
                return error
        assert caller.outcome is not None, "the leader gives each caller of its batch an outcome"
        return caller.outcome

    def _lead(self) -> None:
        batch: list[_Caller[WantedT, DoneT]] = []
        try:
            self._execute_batch(batch)
        finally:
            with self._lock:
                next_leader = self._waiting[0] if self._waiting else None
                self._busy = next_leader is not None
            if next_leader is not None:
                next_leader.woken.release()
            # The first caller of the batch is the leader itself.
            for caller, following in pairwise(batch[1:]):
                caller.next = following
            if len(batch) > 1:
                batch[1].woken.release()

    def _execute_batch(self, batch: list[_Caller[WantedT, DoneT]]) -> None:
        """Fill the empty `batch` when `execute` fetches the requests, and give each caller in it an outcome."""

        def wanted() -> list[WantedT]:
            if not batch:
                with self._lock:
                    batch.extend(self._waiting.popleft() for _ in range(min(LIMIT, len(self._waiting))))
            return [caller.wanted for caller in batch]

        try:
            outcomes = self._execute(wanted)
        except Exception as error:
            # If the database went away, perhaps during the commit, a retry might execute the requests twice.
            away = isinstance(error, DatabaseUnavailable) and not error.may_be_a_rows
            several = len(wanted()) > 1
            if several and not isinstance(error, Aside):
                log.warning("a transaction of %d callers failed: %s", len(batch), type(error).__name__)
            outcomes = [Aside() if several and not away else error] * len(batch)
        for caller, outcome in zip(batch, outcomes, strict=True):
            caller.outcome = outcome
