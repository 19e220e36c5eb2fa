"""Slots for work that waits for other systems: tool calls, models, webhooks, messages.

Other systems may take any time. So a process runs a limited number of each kind, and keeps some threads free for
sweeps, expiries and decisions. Nor may one namespace take all slots of a kind. It gets another one while it has less
than twice as many as are free. Alone it gets two thirds. Two namespaces get two fifths each. Some are left for the
next.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import UUID

# An eighth of the slots is closed even to decisions of a namespace that has its share.
FOR_OTHERS = 8
# Waiting rows of one namespace that are remembered. The sweep finds the others.
MOST_WAITING = 200
# Tool servers whose slots are remembered after their last call.
MOST_SERVERS = 1_000


class Slots:
    """The slots of one kind of work. `wakeup` gets a row that found no slot before, and may find one now."""

    def __init__(self, total: int, wakeup: Callable[[UUID], None]) -> None:
        self._total = total
        self._wake = wakeup
        self._lock = threading.Lock()
        # By namespace.
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, dict[UUID, None]] = {}

    @property
    def in_use(self) -> bool:
        return bool(self._taken or self._waiting)

    def take(self, namespace: str, row: UUID, *, decided: bool = False) -> bool:
        """Take a slot. False: none is free for it now, and the row is remembered.

        `decided`: a person has just decided on it, and does not wait behind machines' work of the namespace.
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
            # Two rows, as a wake-up may be lost or another worker may have done the work. The slot would stay empty.
            rows = [row for row in (self._next(), self._next()) if row is not None]
        for row in rows:
            self._wake(row)

    def _has_room(self, namespace: str) -> bool:
        return self._taken.get(namespace, 0) < 2 * (self._total - sum(self._taken.values()))

    def _next(self) -> UUID | None:
        """Return the first row of the namespace with the fewest slots, among those that may take one."""
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


class SlotsByServer:
    """Slots for each tool server, so that a slow one holds up no calls of others.

    Args:
        each: the slots of one server.
    """

    def __init__(self, each: int, wakeup: Callable[[UUID], None]) -> None:
        self._each, self._wake = each, wakeup
        self._lock = threading.Lock()
        self._slots: dict[str, Slots] = {}

    def of(self, servers: str) -> Slots:
        with self._lock:
            if servers not in self._slots:
                if len(self._slots) >= MOST_SERVERS:
                    self._slots = {name: slots for name, slots in self._slots.items() if slots.in_use}
                self._slots[servers] = Slots(self._each, self._wake)
            return self._slots[servers]


class Slot:
    """The slot of one task. It is taken once the row's namespace is known, and given back with the block.

    Attributes:
        places: the slots that it is one of.
    """

    def __init__(self, places: Slots, row: UUID, *, decided: bool = False) -> None:
        self.places, self._row, self._decided = places, row, decided
        self._namespace: str | None = None

    def take(self, namespace: str) -> bool:
        """Take the slot, if it is not taken already."""
        if self._namespace is None and self.places.take(namespace, self._row, decided=self._decided):
            self._namespace = namespace
        return self._namespace is not None

    def give_back(self) -> None:
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            self.places.give_back(namespace)

    def handed_on(self) -> "Slot":
        """Return this slot for another owner, which gives it back."""
        other = Slot(self.places, self._row, decided=self._decided)
        other._namespace, self._namespace = self._namespace, None
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.give_back()
