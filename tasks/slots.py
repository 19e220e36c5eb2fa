"""Places for work that waits for the outside: tool calls, models, webhooks, messages.

Each of these waits as long as its other side pleases, so that only so many of each kind are under way in a process, and
some of its threads are always free for sweeps, expiries and decisions. Nor may one namespace take all places of a kind:
it gets another one while it has less than twice as many as are free. Alone it comes to two thirds; two get two fifths
each; some are left for whoever comes next.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import UUID

# So much of the places is not for decisions either of a namespace that has its share: an eighth.
FOR_OTHERS = 8
# Rows of one namespace that are remembered: what is more, the sweep finds.
MOST_WAITING = 200


class Slots:
    """`hint` is told a row that found no place before, and may find one now."""

    def __init__(self, total: int, wakeup: Callable[[UUID], None]) -> None:
        self._total = total
        self._wake = wakeup
        self._lock = threading.Lock()
        # By namespace.
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, dict[UUID, None]] = {}

    def take(self, namespace: str, row: UUID, *, decided: bool = False) -> bool:
        """False: there is none for it now, and the row is remembered.

        `decided`: a person has just decided on it, and waits behind no machine's work of the namespace.
        """
        with self._lock:
            free = self._total - sum(self._taken.values())
            if self._has_room(namespace) or (decided and free > self._total // FOR_OTHERS):
                self._taken[namespace] = self._taken.get(namespace, 0) + 1
                return True
            waiting = self._waiting.setdefault(namespace, {})
            if len(waiting) < MOST_WAITING:
                waiting[row] = None
            return False

    def give_back(self, namespace: str) -> None:
        with self._lock:
            self._taken[namespace] -= 1
            if not self._taken[namespace]:
                del self._taken[namespace]
            # Not one: its hint may be lost, or another worker have done it, and the place would stay empty.
            rows = [row for row in (self._next(), self._next()) if row is not None]
        for row in rows:
            self._wake(row)

    def _has_room(self, namespace: str) -> bool:
        return self._taken.get(namespace, 0) < 2 * (self._total - sum(self._taken.values()))

    def _next(self) -> UUID | None:
        """The first row of the namespace that has the fewest places, among those that may take one."""
        waiting = [namespace for namespace in self._waiting if self._has_room(namespace)]
        if not waiting:
            return None
        namespace = min(waiting, key=lambda each: self._taken.get(each, 0))
        rows = self._waiting[namespace]
        row = next(iter(rows))
        del rows[row]
        if not rows:
            del self._waiting[namespace]
        return row


class Slot:
    """One task's place, taken once its row's namespace is known; given back with the block."""

    def __init__(self, places: Slots, row: UUID, *, decided: bool = False) -> None:
        self._places, self._row, self._decided = places, row, decided
        self._namespace: str | None = None

    def take(self, namespace: str) -> bool:
        """True also where it is taken already."""
        if self._namespace is None and self._places.take(namespace, self._row, decided=self._decided):
            self._namespace = namespace
        return self._namespace is not None

    def give_back(self) -> None:
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            self._places.give_back(namespace)

    def handed_on(self) -> "Slot":
        """This seat for another owner, who gives it back."""
        other = Slot(self._places, self._row, decided=self._decided)
        other._namespace, self._namespace = self._namespace, None
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.give_back()
