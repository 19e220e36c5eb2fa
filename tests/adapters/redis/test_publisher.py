"""Wake-ups after a commit: sent on a separate thread, and dropped without an error if Redis cannot keep up."""

import logging
import threading
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import fakeredis
import pytest

from adapters.redis import publisher, pubsub
from adapters.redis.publisher import WARN_EVERY, PublisherThread
from domain.values.ids import INBOX

SECONDS = 90.0


class World:
    """A destination of wake-ups that may be slow or broken."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.fails = False
        self.stuck = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.done = threading.Semaphore(0)

    def send(self, wakeups: Sequence[str], ids: Sequence[UUID]) -> None:
        self.stuck.set()
        assert self.go_on.wait(SECONDS)
        try:
            if self.fails:
                raise ConnectionError("Redis is away")
            self.sent += [*wakeups, *ids]
        finally:
            self.done.release()

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.done.acquire(timeout=SECONDS)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def thread(world: World) -> Iterator[PublisherThread[str]]:
    made = PublisherThread(world.send)
    yield made
    world.go_on.set()
    made.close()


def test_all_of_a_commit_goes_out_together(world: World, thread: PublisherThread[str]) -> None:
    """The wake-ups for workers in their order, with those of agents."""
    id_ = uuid4()
    thread.publish(["one", "two"], [id_])
    world.wait_for(1)
    thread.publish([], [])
    thread.publish(["three"], [])
    world.wait_for(1)
    assert world.sent == ["one", "two", id_, "three"]


def test_agents_of_this_process_do_not_wait_for_redis(world: World) -> None:
    """They are woken by the thread that commits, while Redis is stuck."""
    woken: list[UUID] = []
    thread = PublisherThread(world.send, woken.extend)
    world.go_on.clear()
    thread.publish(["stuck"], [])
    assert world.stuck.wait(SECONDS)
    id_ = uuid4()
    thread.publish(["one"], [id_, INBOX])
    assert woken == [id_]
    world.go_on.set()
    thread.close()
    assert world.sent.count(id_) == 1


def test_what_comes_meanwhile_goes_out_together(world: World, thread: PublisherThread[str]) -> None:
    """One message has the wake-ups of up to that many commits."""
    world.go_on.clear()
    thread.publish(["stuck"], [])
    assert world.stuck.wait(SECONDS)
    ids = [uuid4() for _ in range(publisher.AT_ONCE + 1)]
    for id_ in ids:
        thread.publish([id_.hex[:4]], [id_])
    world.go_on.set()
    world.wait_for(1 + 1 + 1)
    first, last = ids[: publisher.AT_ONCE], ids[-1]
    assert world.sent == ["stuck", *(id_.hex[:4] for id_ in first), *first, last.hex[:4], last]


def test_publish_never_blocks_nor_raises(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With Redis stuck and the queue full the rest is dropped, and said once in so many."""
    monkeypatch.setattr(publisher, "CAPACITY", 3)
    thread = PublisherThread(world.send)
    world.go_on.clear()
    thread.publish(["stuck"], [])
    assert world.stuck.wait(SECONDS)
    with caplog.at_level(logging.WARNING):
        for number in range(3 + WARN_EVERY + 1):
            thread.publish([f"{number}"], [])
    assert len(caplog.records) == 2
    assert "the queue of wake-ups is full" in caplog.text
    world.go_on.set()
    world.wait_for(2)
    thread.close()
    assert world.sent == ["stuck", "0", "1", "2"]


def test_a_failure_is_logged_and_the_next_is_sent(
    world: World, thread: PublisherThread[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not each of them: while Redis is away there is one for every commit."""
    world.fails = True
    with caplog.at_level(logging.WARNING):
        for _ in range(WARN_EVERY):
            thread.publish(["lost"], [])
            world.wait_for(1)
        world.fails = False
        thread.publish(["found"], [])
        world.wait_for(1)
    assert world.sent == ["found"]
    assert [record.getMessage() for record in caplog.records] == [
        "wake-ups were not sent, sweeps will find the work: ConnectionError: Redis is away"
    ]


def test_many_changes_of_the_inbox_are_few_wake_ups(
    world: World, thread: PublisherThread[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first at once; what changes while that is sent is one more, after it."""
    monkeypatch.setattr(publisher, "INBOX_EVERY", 0.0)
    world.go_on.clear()
    thread.publish([], [INBOX])
    assert world.stuck.wait(SECONDS)
    for _ in range(1000):
        thread.publish([], [INBOX])
    world.go_on.set()
    world.wait_for(2)
    thread.publish(["hint"], [])
    world.wait_for(1)
    assert world.sent == [INBOX, INBOX, "hint"]


def test_close_sends_what_is_left(world: World) -> None:
    """Within its time."""
    world.go_on.clear()
    thread = PublisherThread(world.send)
    thread.publish(["stuck"], [])
    assert world.stuck.wait(SECONDS)
    for number in range(50):
        thread.publish([str(number)], [])
    world.go_on.set()
    thread.close()
    assert world.sent == ["stuck", *map(str, range(50))]


def test_close_does_not_wait_for_a_redis_that_is_stuck(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither with room in the queue nor without."""
    monkeypatch.setattr(publisher, "CAPACITY", 1)
    monkeypatch.setattr(publisher, "CLOSE_WITHIN", 0.05)
    world.go_on.clear()
    thread = PublisherThread(world.send)
    thread.publish(["stuck"], [])
    assert world.stuck.wait(SECONDS)
    thread.close()
    thread.publish(["no room"], [])
    thread.close()
    world.go_on.set()


def test_wake_ups_through_redis_and_its_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Wake-ups during an outage of Redis are lost. Afterwards the same thread continues."""
    server = fakeredis.FakeServer()
    redis = fakeredis.FakeRedis(server=server)
    tried = threading.Semaphore(0)

    def send(wakeups: Sequence[str], ids: Sequence[UUID]) -> None:
        try:
            pubsub.send(redis, ids)
        finally:
            tried.release()

    heard = fakeredis.FakeRedis(server=server).pubsub(ignore_subscribe_messages=True)
    heard.subscribe(pubsub.CHANNEL)
    heard.get_message(timeout=SECONDS)
    thread: PublisherThread[str] = PublisherThread(send)
    lost, found = uuid4(), uuid4()
    server.connected = False
    with caplog.at_level(logging.WARNING):
        thread.publish([], [lost])
        assert tried.acquire(timeout=SECONDS)
        server.connected = True
        thread.publish([], [found])
        assert tried.acquire(timeout=SECONDS)
        thread.close()
    message = heard.get_message(timeout=SECONDS)
    assert message is not None
    assert message["data"] == found.hex.encode()
    assert len(caplog.records) == 1
