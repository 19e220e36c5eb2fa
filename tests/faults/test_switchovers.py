"""All processes behind PgBouncer in transaction mode and Redis sentinels, with TLS. Each part fails under load.

One stack has all of it, because a start takes many seconds of processor time.
"""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.procfile import PROCFILE
from domain.values.server_urls import database_url
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.leases import stamp_worker
from services.kernel.unit_of_work import Database, NoPublisher
from tests.conftest import ALONE, migrate
from tests.faults.saga_scene import SagaScene, step
from tests.faults.scene import ANSWER_WITHIN, PROCESSES, Scene, until
from tests.pgbouncer import PgBouncer, pgbouncer
from tests.postgres_pair import DATABASE, USER, PostgresPair, postgres_pair
from tests.redis_servers import RedisServers, redis_servers

# Fewer than the connections that `web` and `worker` keep: each transaction takes whichever is free.
SESSIONS = 5
SAGAS = 10
# An error of redis-py about sentinels has some thousand characters of configuration. Ours has none of them.
LONGEST_LINE = 1_500


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPair]:
    with postgres_pair(tmp_path_factory.mktemp("postgres")) as started:
        # `release` needs PostgreSQL's own address.
        migrate(started.primary)
        yield started


@pytest.fixture(scope="module")
def pooler(postgres: PostgresPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    """In front of the primary only. With the standby's own address it is one of two hosts."""
    tls = {
        "server_tls_sslmode": "verify-full",
        "server_tls_ca_file": postgres.tls.authority,
        "client_tls_sslmode": "require",
        "client_tls_cert_file": postgres.tls.certificate,
        "client_tls_key_file": postgres.tls.key,
    }
    folder = tmp_path_factory.mktemp("pgbouncer")
    with pgbouncer(folder, postgres.primary, default_pool_size=SESSIONS, **tls) as started:
        yield started


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    with redis_servers(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def addresses(postgres: PostgresPair, pooler: PgBouncer) -> str:
    first, second = (urlsplit(url).netloc.rpartition("@")[2] for url in (pooler.url, postgres.standby))
    return f"postgresql://{USER}@{first},{second}/{DATABASE}?{urlsplit(postgres.primary).query}"


@pytest.fixture(scope="module")
def stack(addresses: str, redis: RedisServers) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [line for line in PROCFILE.read_text().splitlines() if not line.startswith("release")]
        (folder / "Procfile").write_text("\n".join(lines))
        # The test's own connections need the parameter, which ours add by themselves.
        url = f"{addresses}&target_session_attrs=read-write"
        environ = ALONE | {"DATABASE_URL": url, "REDIS_URL": redis.url}
        with Stack(folder / "data", environ=environ, procfile=folder / "Procfile") as running:
            yield running


def test_a_certificate_of_another_authority_is_refused(postgres: PostgresPair) -> None:
    wrong = postgres.primary.replace(str(postgres.tls.authority), str(postgres.tls.stranger))
    database = Database(open_engine(database_url(wrong), 1, "test"), NoPublisher(), "")
    with pytest.raises(DatabaseUnavailable, match="certificate verify failed"), database.reading():
        pass


def test_pgbouncer_killed_under_load(stack: Stack, pooler: PgBouncer) -> None:
    """Nothing that was accepted is lost, nothing runs twice, and no process has to be restarted."""
    pids = {name: stack.pid(name) for name in PROCESSES}
    with Scene(stack) as pauses, SagaScene(stack) as sagas:
        sagas.deploy_saga("held", step("one", "charge"), step("two", "charge_once", hitl=True))
        customers = {sagas.start_saga("held", customer=f"anna-{number}"): f"anna-{number}" for number in range(SAGAS)}
        enough = threading.Event()
        clients = [pauses.start(pauses.create_and_decide, enough) for _ in range(6)]
        clients.append(pauses.start(pauses.keep_reading, enough))
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
                until("it hands over", lambda old=old: redis.master() != old or bool(redis.switch_over()))
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


def test_postgres_switched_over(postgres: PostgresPair, addresses: str) -> None:
    """The primary stops taking changes and lives on. Its connections are given up for those of the other host.

    PgBouncer goes on to report that its server takes changes. It is the last test, because it is not undone.
    """
    database = Database(open_engine(database_url(addresses), 4, "test"), NoPublisher(), "")

    def changes() -> bool:
        try:
            with database.transaction() as uow:
                stamp_worker(uow, "a worker")
        except DatabaseUnavailable:
            return False
        return True

    assert changes()
    postgres.switch_over()
    assert not changes()
    postgres.promote()
    until("changes go to the new primary", changes)
    assert postgres.ask(postgres.standby, "SELECT count(*) FROM worker_heartbeats WHERE worker = 'a worker'") == 1
    database.engine.dispose()
