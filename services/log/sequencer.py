"""The sequencer of the audit log: it links committed entries into the chains of their namespaces, in batches.

Each call of `audit_link_entries` (migration 0029) is one transaction, so a killed process leaves an entry linked or
unlinked. It locks the heads of its chains: sequencers of several processes, and writers of the release before, take
turns.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database

# Entries of one transaction, which takes some tens of milliseconds.
BATCH = 1_000
# Seconds. Ids are given before the commit, so an entry may appear below one that was linked before. Below an id that
# was linked this long ago, entries appear so rarely that every tenth second suffices for them.
SETTLED_AFTER = 60.0
WHOLE_EVERY = 10.0


class Sequencer:
    """Links all that is visible and unlinked.

    It starts at the first id that may still be unlinked, and every `WHOLE_EVERY` at the beginning. While a backup
    runs, the database keeps the rows of all entries that were linked since it began, and would read them each time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # When an id was linked, with the id; the oldest first.
        self._linked: deque[tuple[float, int]] = deque()
        self._settled = 0
        self._whole_at = float("-inf")

    def run(self) -> int:
        """Link the entries that are visible now, the oldest first. Return how many.

        A chain that fails delays no other one. Its error is raised after the others were linked.
        """
        after, total = self._start(time.monotonic()), 0
        while chains := self._chains(after):
            try:
                linked = self._link(chains, after)
            except Exception as error:
                if isinstance(error, DatabaseUnavailable) and not error.may_be_a_rows:
                    raise
                return total + self._link_each()
            total += linked
            if linked < BATCH:
                break
        return total

    def _start(self, now: float) -> int:
        while self._linked and self._linked[0][0] < now - SETTLED_AFTER:
            self._settled = max(self._settled, self._linked.popleft()[1])
        if now < self._whole_at:
            return self._settled
        self._whole_at = now + WHOLE_EVERY
        return 0

    def _chains(self, after: int) -> Sequence[str]:
        with self._database.reading() as conn:
            return conn.execute(_CHAINS, {"after": after, "batch": BATCH}).scalars().all()

    def _link(self, chains: Sequence[str], after: int) -> int:
        wanted: dict[str, Any] = {"chains": list(chains), "after": after, "batch": BATCH}
        found = self._database.execute_alone(_LINK, wanted)
        if found.last is not None:
            self._linked.append((time.monotonic(), found.last))
        return int(found.linked)

    def _link_each(self) -> int:
        """Link each chain in transactions of its own."""
        total, failed = 0, None
        with self._database.reading() as conn:
            chains = conn.execute(_ALL_CHAINS).scalars().all()
        for chain in chains:
            try:
                while linked := self._link([chain], 0):
                    total += linked
            except Exception as error:
                failed = failed or error
                failed.add_note(f"linking the audit log of {chain!r}")
        if failed is not None:
            raise failed
        return total


def link_entries(database: Database) -> int:
    """Link the entries that are visible now. Return how many."""
    return Sequencer(database).run()


_CHAINS = text("""
SELECT DISTINCT namespace FROM (
    SELECT namespace FROM audit_unlinked WHERE id > :after ORDER BY id LIMIT :batch
) AS oldest
""")
_ALL_CHAINS = text("SELECT DISTINCT namespace FROM audit_unlinked")
_LINK = text("SELECT linked, last FROM audit_link_entries(CAST(:chains AS text[]), :after, :batch)")
