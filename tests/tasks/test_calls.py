"""Tool calls of a worker that stood still: a step that is perhaps another's by now is not called."""

import time
from pathlib import Path
from uuid import uuid4

from domain.sagas.outcome import Lost, NotSent
from services.kernel.leases import LEASE, SAGA, Lease
from services.kernel.unit_of_work import Database
from services.sagas.work import Execution, ToolCall
from tasks.runtime import leases, tool_client
from tasks.sagas import make
from tests.adapters.odd_server import odd_servers


def test_called_only_under_a_lease_that_is_certain(database: Database, tmp_path: Path) -> None:
    execution = Execution("any", "1", "default", "one", False, 1)
    with odd_servers("stdio", tmp_path) as odd:
        # The server starts here: on a busy machine that takes as long as a lease.
        tool_client().look_up((odd.source,), "crash", 30.0).result()
        for age, called in ((LEASE.total_seconds(), []), (0.0, ["crash"])):
            lease = Lease(SAGA, uuid4(), uuid4(), time.monotonic() - age)
            call = ToolCall(lease, 1, (odd.source,), "crash", {}, "fwd-1", 30.0, False, False, 0.0, execution)
            with leases().keeping(lease):
                outcome = make(call).result()
            assert odd.called() == called
            # The tool ends its server.
            assert isinstance(outcome, Lost if called else NotSent)
