"""All processes behind a PgBouncer in transaction mode and Redis sentinels, with TLS and an ACL. Each fails under load.

One stack has both, because a start takes many seconds of processor time.
"""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.procfile import PROCFILE
from tests.conftest import ALONE, execute
from tests.faults.saga_scene import SagaScene, step
from tests.faults.scene import ANSWER_WITHIN, PROCESSES, Scene, until
from tests.pgbouncer import PgBouncer, pgbouncer
from tests.redis_servers import RedisServers, redis_servers

# Fewer than the connections that `web` and `worker` keep: each transaction takes whichever is free.
SESSIONS = 5
SAGAS = 10
# An error of redis-py about sentinels has some thousand characters of configuration. Ours has none of them.
LONGEST_LINE = 1_500


@pytest.fixture(scope="module")
def pooler(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    """In front of a migrated database, because `release` needs PostgreSQL's own address."""
    name = f"pooled_{uuid4().hex}"
    execute(servers.database_url, f"CREATE DATABASE {name} TEMPLATE template_sagahold")
    database_url = servers.database_url.replace("/sagahold?", f"/{name}?")
    with pgbouncer(tmp_path_factory.mktemp("pgb"), servers, database_url, default_pool_size=SESSIONS) as started:
        yield started


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    with redis_servers(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def stack(pooler: PgBouncer, redis: RedisServers) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [line for line in PROCFILE.read_text().splitlines() if not line.startswith("release")]
        (folder / "Procfile").write_text("\n".join(lines))
        environ = ALONE | {"DATABASE_URL": pooler.url, "REDIS_URL": redis.url}
        with Stack(folder / "data", environ=environ, procfile=folder / "Procfile") as running:
            yield running


def test_pgbouncer_killed_under_load(stack: Stack, pooler: PgBouncer) -> None:
    """Nothing that was accepted is lost, nothing runs twice, and no process has to be restarted."""
    pids = {name: stack.pid(name) for name in PROCESSES}
    with Scene(stack) as pauses, SagaScene(stack) as sagas:
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
        assert {name: stack.pid(name) for name in PROCESSES} == pids
        pauses.check_logs()
        for name in ("web", "worker"):
            assert pauses.log(name).count("no longer prepared") == 0


def test_redis_switched_over_under_load(stack: Stack, redis: RedisServers) -> None:
    """First the master is killed, then it takes over again from a master that lives on as its replica."""
    pids = {name: stack.pid(name) for name in PROCESSES}
    with Scene(stack) as scene:
        for number, old in enumerate(("one", "two")):
            assert redis.master() == old
            enough = threading.Event()
            clients = [scene.start(scene.create_and_decide, enough) for _ in range(6)]
            seen = len(scene.receiver.requests)
            until("pauses are decided", lambda seen=seen: len(scene.receiver.requests) >= seen + 20)
            if number == 0:
                redis.kill(old)
            else:
                redis.start("one")
                until("it has a replica", redis.has_replica)
                redis.switch_over()
            until("another one is the master", lambda old=old: redis.master() != old)
            seen = len(scene.receiver.requests)
            until("pauses are decided again", lambda seen=seen: len(scene.receiver.requests) >= seen + 20)
            enough.set()
            for client in clients:
                client.result()
            until("ready", lambda: httpx.get(f"{stack.url}/readyz", timeout=ANSWER_WITHIN).status_code == 200)
        scene.truth.settle()
        assert (scene.truth.domain_errors, scene.truth.unreachable) == (0, 0)
        assert {name: stack.pid(name) for name in PROCESSES} == pids
        scene.check_logs()
        for name in PROCESSES:
            assert max(map(len, scene.log(name).splitlines()), default=0) < LONGEST_LINE
