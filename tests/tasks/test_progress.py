"""What a tool says of how far its call is: written with the heartbeat, and nothing depends on it."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from domain.sagas.outcome import Done
from domain.sagas.progress import progress_document
from domain.sagas.serialization import span_text
from models.sagas import sagas
from services.kernel.leases import Lease
from services.kernel.unit_of_work import Store
from services.manifests.definitions import deploy
from services.sagas.engine import advance
from services.sagas.lifecycle import Start, start_saga
from services.sagas.work import Call, Room
from tasks.runtime import leases
from tasks.sagas import make
from tests.adapters.odd_server import odd_servers
from tests.services.world import ADMIN, AGENT


def stored(store: Store) -> Any:
    with store.reading() as conn:
        return conn.execute(select(sagas.c.progress)).scalar_one()


def claimed(store: Store, source: dict[str, Any]) -> Call:
    deploy(store, ADMIN, {"kind": "worker", "name": "w", "version": "1", "tool_sources": [source]}, replace=True)
    step = {"id": "one", "kind": "commit", "worker": "w", "worker_version": "1", "tools": {"allow": ["tell"]}}
    step["with"] = {"message": {"value": "page"}, "times": {"value": 200}}
    deploy(store, ADMIN, {"kind": "saga", "name": "s", "version": "1", "steps": [step]}, replace=True)
    work = advance(store, start_saga(store, AGENT, Start("default", "s", "1", {}))[0], Room())
    assert isinstance(work, Call)
    return work


def test_however_often_a_tool_tells_it_is_written_with_the_heartbeat(store: Store, tmp_path: Path) -> None:
    with odd_servers("http", tmp_path) as odd:
        call = claimed(store, {"name": "odd", "transport": "streamable_http", "url": odd.source.url})
        with leases().keeping(call.lease):
            assert make(call) == Done({"told": 200})
            assert stored(store) is None
            leases().beat()
        said = {"span": span_text(call.span_id), "attempt": 1, "done": 200.0, "total": 200.0, "message": "page"}
        assert stored(store) == said


def test_what_another_worker_has_is_not_written_over(store: Store, tmp_path: Path) -> None:
    call = claimed(store, {"name": "odd", "transport": "streamable_http", "url": "http://127.0.0.1:9/mcp"})
    other = Lease(call.lease.kind, call.lease.id, call.lease.id)
    with leases().keeping(other):
        leases().teller(other, call.span_id, 1)(1, None, None)
        leases().beat()
    assert stored(store) is None


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
