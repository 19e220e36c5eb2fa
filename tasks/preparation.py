"""Preparation of web and worker processes before they say that they are ready, so that no decision waits for it."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Collection
from uuid import UUID

from services.kernel.connection_pool import DatabaseUnsuitable
from services.kernel.unit_of_work import Database
from services.reviews.rehearsal import rehearse
from tasks import runtime
from tasks.wakeups import TASKS, message_to

log = logging.getLogger(__name__)

# A worker of other queues executes no decision, and starts sooner without this.
QUEUES = frozenset({"decisions", "sagas"})
# It takes a tenth of a second. A database that does not answer delays a start by this, and no longer.
PREPARED_WITHIN = 3.0


def prepare(database: Database, *more: Callable[[], object]) -> None:
    """Compile the statements of a decision, make the messages that wake workers, and do `more`.

    A failure is logged. Then the first decision takes longer. End the process if the database can never serve it.
    """
    preparing = threading.Thread(target=_prepare, args=(database, more), name="preparation", daemon=True)
    preparing.start()
    preparing.join(PREPARED_WITHIN)


def prepare_worker(queues: Collection[str]) -> None:
    """Prepare a worker of these queues, and start the threads of tool calls."""
    if not QUEUES.isdisjoint(queues):
        tools = runtime.tool_client().prepare
        prepare(runtime.database(), tools, runtime.tool_calls, runtime.turns, runtime.leases, runtime.requests)


def _prepare(database: Database, more: Collection[Callable[[], object]]) -> None:
    try:
        for task in TASKS.values():
            message_to(task, UUID(int=0))
        for part in more:
            part()
        rehearse(database)
    except DatabaseUnsuitable as error:
        print(f"sagahold: {error}", file=sys.stderr, flush=True)  # noqa: T201  (as for an invalid setting)
        # From this thread it is the only way, and nothing was accepted without a database.
        os._exit(2)
    except Exception as error:
        # Its other lines may contain a statement.
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        log.warning("the first decision will take longer, as its rehearsal failed", extra={"reason": reason})
