"""Tasks run in this process as plain functions, on a real database and a real broker."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis

from adapters.redis.connection import connect
from cli.devstack import Stack
from services.kernel.leases import WEBHOOK
from services.kernel.unit_of_work import Database, WakeUp
from tests.conftest import LOOPBACK
from tests.faults.scene import until
from tests.services.conftest import database_url, shared_database_url  # noqa: F401

ENCRYPTION_KEY = "an-encryption-key-of-the-tests-only"


@pytest.fixture(scope="session")
def worker(shared_database_url: str, servers: Stack) -> Iterator[Database]:  # noqa: F811
    """The state of a worker process: its settings from the environment, and the objects of `tasks.runtime`."""
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("DATABASE_URL", shared_database_url)
        environ.setenv("REDIS_URL", servers.redis_url)
        environ.setenv("SAGAHOLD_WEBHOOK_TIMEOUT", "1")
        environ.setenv("SAGAHOLD_ENCRYPTION_KEY", ENCRYPTION_KEY)
        for name, value in LOOPBACK.items():
            environ.setenv(name, value)
        import tasks.app
        from tasks import runtime

        assert tasks.app.app.conf.broker_url
        database = runtime.database()
        yield database
        database.publisher.close()  # type: ignore[attr-defined]
        database.engine.dispose()


@pytest.fixture
def database(worker: Database, database_url: str) -> Database:  # noqa: F811
    """The worker's own, on an emptied database."""
    return worker


@pytest.fixture
def redis(servers: Stack, worker: Database) -> Iterator[Redis]:
    """The emptied broker. A thread may still send wake-ups of earlier tests, in order."""
    client = connect(servers.redis_url)
    last = WakeUp(WEBHOOK, uuid4())
    worker.publisher.publish([last], [])
    until("all was sent", lambda: any(last.id.hex.encode() in wakeup for wakeup in client.lrange("webhooks", 0, -1)))
    client.flushdb()
    yield client
    client.close()
