"""Progress that a tool reports: it is written with the heartbeat, and nothing depends on it."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from domain.sagas.outcome import Done
from domain.sagas.progress import progress_document
from domain.sagas.serialization import span_text
from models.sagas import sagas
from services.kernel.leases import Lease
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from services.sagas.lifecycle import StartRequest, start_saga
from services.sagas.work import Capacity, ToolCall
from tasks.leases import LeaseKeeper
from tasks.runtime import leases
from tasks.sagas import make
from tests.adapters.odd_server import odd_servers
from tests.services.saga_turns import advance
from tests.services.world import ADMIN, AGENT


def stored(database: Database) -> Any:
    with database.reading() as conn:
        return conn.execute(select(sagas.c.progress)).scalar_one()


def claimed(database: Database, source: dict[str, Any]) -> ToolCall:
    deploy(database, ADMIN, {"kind": "worker", "name": "w", "version": "1", "tool_sources": [source]}, replace=True)
    step = {"id": "one", "kind": "commit", "worker": "w", "worker_version": "1", "tools": {"allow": ["tell"]}}
    step["with"] = {"message": {"value": "page"}, "times": {"value": 200}}
    deploy(database, ADMIN, {"kind": "saga", "name": "s", "version": "1", "steps": [step]}, replace=True)
    work = advance(database, start_saga(database, AGENT, StartRequest("default", "s", "1", {}))[0], Capacity())
    assert isinstance(work, ToolCall)
    return work


def test_however_often_a_tool_tells_it_is_written_with_the_heartbeat(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The only heartbeat is that of the test.
    monkeypatch.setattr("tasks.leases.BEAT_SECONDS", 3600.0)
    keeper = LeaseKeeper(database)
    monkeypatch.setattr("tasks.sagas.leases", lambda: keeper)
    with odd_servers("http", tmp_path) as odd:
        call = claimed(database, {"name": "odd", "transport": "streamable_http", "url": odd.source.url})
        with keeper.keeping(call.lease):
            assert make(call).result() == Done({"told": 200})
            assert stored(database) is None
            keeper.beat()
        said = {"span": span_text(call.span_id), "attempt": 1, "done": 200.0, "total": 200.0, "message": "page"}
        assert stored(database) == said


def test_what_another_worker_has_is_not_written_over(database: Database, tmp_path: Path) -> None:
    call = claimed(database, {"name": "odd", "transport": "streamable_http", "url": "http://127.0.0.1:9/mcp"})
    other = Lease(call.lease.kind, call.lease.id, call.lease.id)
    with leases().keeping(other):
        leases().progress_reporter(other, call.span_id, 1)(1, None, None)
        leases().beat()
    assert stored(database) is None


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ((1, 4, "x\x00\ud800"), (1, 4, "x\ufffd?")),
        ((1, 0, None), (1, None, "")),
        ((1, float("nan"), "y" * 300), (1, None, "y" * 200 + "…")),
        ((float("inf"), None, ""), None),
    ],
)
def test_what_cannot_be_shown_is_left_out(told: Any, said: Any) -> None:
    found = progress_document("s", 1, *told)
    assert (None if found is None else (found["done"], found["total"], found["message"])) == said
