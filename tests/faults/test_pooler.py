"""All processes work through a PgBouncer in transaction mode, which is killed under load."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from cli.devstack import Stack
from cli.devstack.procfile import PROCFILE
from tests.conftest import ALONE, execute
from tests.faults.saga_scene import SagaScene, step
from tests.faults.scene import PROCESSES, Scene, until
from tests.pgbouncer import PgBouncer, pgbouncer

# Fewer than the connections that `web` and `worker` keep: each transaction takes whichever is free.
SESSIONS = 5
SAGAS = 10


@pytest.fixture
def pooler(servers: Stack, tmp_path: Path) -> Iterator[PgBouncer]:
    """In front of a migrated database, because `release` needs PostgreSQL's own address."""
    name = f"pooled_{uuid4().hex}"
    execute(servers.database_url, f"CREATE DATABASE {name} TEMPLATE template_sagahold")
    database_url = servers.database_url.replace("/sagahold?", f"/{name}?")
    with pgbouncer(tmp_path, servers, database_url, default_pool_size=SESSIONS) as started:
        yield started


@pytest.fixture
def pooled(pooler: PgBouncer) -> Iterator[Stack]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        lines = [line for line in PROCFILE.read_text().splitlines() if not line.startswith("release")]
        (folder / "Procfile").write_text("\n".join(lines))
        environ = ALONE | {"DATABASE_URL": pooler.url}
        yield opened.enter_context(Stack(folder / "data", environ=environ, procfile=folder / "Procfile"))


def test_pgbouncer_killed_under_load(pooled: Stack, pooler: PgBouncer) -> None:
    """Nothing that was accepted is lost, nothing runs twice, and no process has to be restarted."""
    pids = {name: pooled.pid(name) for name in PROCESSES}
    with Scene(pooled) as pauses, SagaScene(pooled) as sagas:
        sagas.deploy_saga("held", step("one", "charge"), step("two", "charge_once", hitl=True))
        customers = {sagas.start_saga("held", customer=f"anna-{number}"): f"anna-{number}" for number in range(SAGAS)}
        enough = threading.Event()
        clients = [pauses.start(pauses.create_and_decide, enough) for _ in range(6)]
        until("pauses are decided", lambda: len(pauses.receiver.requests) >= 20)
        until("steps are held", lambda: len(sagas.for_review()) == SAGAS)
        (first, span), *others = sagas.for_review()
        sagas.order("reviewer", first, span, "approve")
        pooler.stop()
        until("a client is refused", lambda: pauses.truth.domain_errors > 0)
        pooler.start()
        seen = len(pauses.receiver.requests)
        for trace_id, span in others:
            sagas.order("reviewer", trace_id, span, "approve")
        until("pauses are decided again", lambda: len(pauses.receiver.requests) >= seen + 20)
        enough.set()
        for client in clients:
            client.result()
        pauses.truth.settle()
        for trace_id, customer in customers.items():
            sagas.reads_as(trace_id, "COMPLETED")
            assert sagas.ledger.entries(customer) == ["charge", "charge_once"]
        assert pauses.truth.unreachable == 0
        assert {name: pooled.pid(name) for name in PROCESSES} == pids
        pauses.check_logs()
        for name in ("web", "worker"):
            assert pauses.log(name).count("no longer prepared") == 0
