"""Tool calls that take long: they hold no thread, and only the places of their own server."""

import shlex
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from domain.manifests.definition import ToolSource
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from services.sagas.lifecycle import StartRequest, start_saga
from tasks import sagas
from tasks.runtime import CALLS_OF_A_SERVER, leases, tool_calls, tool_slots
from tests.adapters.odd_server import eventually, odd_servers
from tests.services.saga_world import saga_of
from tests.services.world import ADMIN, AGENT, one

# One namespace alone gets two thirds.
AT_ONCE = CALLS_OF_A_SERVER * 2 // 3


def started(database: Database, name: str, source: ToolSource, tool: str, count: int, **arguments: Any) -> list[UUID]:
    """Sagas of one call of this tool."""
    place = {"command": source.command, "args": list(source.args), "env": dict(source.env)}
    tools = {"name": name, "transport": "stdio", **place}
    deploy(database, ADMIN, {"kind": "worker", "name": name, "version": "1", "tool_sources": [tools]}, replace=True)
    step = {"id": "one", "kind": "commit", "worker": name, "worker_version": "1", "tools": {"allow": [tool]}}
    step |= {"with": {key: {"value": value} for key, value in arguments.items()}, "timeout_seconds": 600}
    deploy(database, ADMIN, {"kind": "saga", "name": name, "version": "1", "steps": [step]}, replace=True)
    return [start_saga(database, AGENT, StartRequest("default", name, "1", {}))[0] for _ in range(count)]


def test_slow_calls_hold_no_thread_and_delay_no_other_server(database: Database, tmp_path: Path) -> None:
    for name in ("slow", "quick"):
        (tmp_path / name).mkdir()
    with odd_servers("stdio", tmp_path / "slow") as slow, odd_servers("stdio", tmp_path / "quick") as quick:
        (first, *others) = started(database, "slow", slow.source, "hang", AT_ONCE + 3)
        sagas.advance_sagas(first.hex)
        eventually(lambda: slow.called() == ["hang"])
        threads = threading.active_count()
        # It returns while all the calls are under way.
        sagas.advance_sagas(*(id_.hex for id_ in others))
        eventually(lambda: len(slow.called()) == AT_ONCE)
        assert threading.active_count() <= threads
        assert one(database, "SELECT count(*) FROM sagas WHERE status = 'PENDING'") == 3
        elsewhere = replace(quick.source, args=(*quick.source.args, "elsewhere"))
        (other,) = started(database, "quick", elsewhere, "echo", 1, value=1)
        sagas.advance_sagas(other.hex)
        eventually(lambda: saga_of(database, other).status == "COMPLETED")
        assert len(slow.called()) == AT_ONCE
        slow.kill()
        eventually(lambda: one(database, "SELECT count(*) FROM sagas WHERE lease_token IS NOT NULL") == 0)
        tool_calls().drain()


def test_a_call_that_is_cut_off_is_left_to_another_worker(database: Database, tmp_path: Path) -> None:
    """Its lease is not renewed any more, and its place is free."""
    with odd_servers("stdio", tmp_path) as odd:
        source = replace(odd.source, args=(*odd.source.args, "cut"))
        (id_,) = started(database, "cut", source, "hang", 1)
        sagas.advance_sagas(id_.hex)
        eventually(lambda: odd.called() == ["hang"])
        (running,) = tool_calls()._running
        lease = running.job.work.lease  # type: ignore[attr-defined]
        assert leases().holds(lease)
        assert running.future is not None
        running.future.cancel()
        tool_calls().drain()
        assert not leases().holds(lease)
        assert not tool_slots().of(shlex.join((str(source.command), *source.args))).in_use
        odd.kill()
