"""A tool is looked up before its call is held: as its server describes it, and without a call."""

import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from domain.sagas.outcome import Failed, NotSent, ToolFound
from services.kernel.leases import SAGA, Lease
from services.kernel.unit_of_work import Database
from services.sagas.work import Execution, ToolLookup
from tasks.runtime import tool_client
from tests.adapters.odd_server import odd_servers


def test_looked_up(database: Database, tmp_path: Path) -> None:
    """A missing tool is final; an unreachable server may come back."""

    def look_up(work: ToolLookup) -> ToolFound | Failed | NotSent:
        return tool_client().look_up(work.sources, work.tool, work.timeout).result()

    with odd_servers("stdio", tmp_path) as odd:
        execution = Execution("any", "1", "default", "one", False, 1)
        lease = Lease(SAGA, uuid4(), uuid4(), time.monotonic())
        work = ToolLookup(lease, 1, (odd.source,), "meet", 30.0, 0.0, execution)
        found = look_up(work)
        assert isinstance(found, ToolFound)
        assert found.schema["properties"]["count"]["type"] == "integer"
        missing = look_up(replace(work, tool="nothing"))
        assert isinstance(missing, Failed)
        assert missing.error.code == "TOOL_NOT_FOUND"
        absent = look_up(replace(work, sources=(replace(odd.source, command="/nowhere"), odd.source)))
        assert isinstance(absent, Failed)
        assert absent.error.code == "MCP_UNAVAILABLE"
        away = look_up(replace(work, sources=(replace(odd.source, command="/bin/false"), odd.source)))
        assert isinstance(away, NotSent)
        assert away.error.code == "MCP_UNAVAILABLE"
        unset = look_up(replace(work, sources=(replace(odd.source, command="${ENV:SAGAHOLD_NOT_SET}"),)))
        assert isinstance(unset, Failed)
        assert unset.error.code == "WORKER_CONFIG_LOAD_FAILED"
        assert odd.called() == []
