"""Wake-ups: who waits is woken, by Redis at once or by the database a little later, whatever Redis does."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID, uuid4

import fakeredis
import pytest
from redis import Redis
from redis.exceptions import RedisError

from adapters.redis import pubsub
from adapters.redis.connection import connect
from adapters.redis.pubsub import CHANNEL, ChangeSubscriber, send
from cli.devstack import Stack
from domain.values.ids import INBOX

SECONDS = 90.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


class Changed:
    """The database's side: which of the ids that are waited for have changed."""

    def __init__(self) -> None:
        self.ids: set[UUID] = set()
        self.asked: list[list[UUID]] = []
        self.fails = False

    def __call__(self, waiting: Sequence[UUID]) -> list[UUID]:
        self.asked.append(list(waiting))
        if self.fails:
            raise ConnectionError("the database is away")
        return [id_ for id_ in waiting if id_ in self.ids]


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def redis(server: fakeredis.FakeServer) -> Redis:
    return fakeredis.FakeRedis(server=server)


@pytest.fixture
def changed() -> Changed:
    return Changed()


@pytest.fixture
def subscriber(
    server: fakeredis.FakeServer, changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ChangeSubscriber]:
    """Not started. Its re-check comes far too late to help, unless a test says otherwise."""
    monkeypatch.setattr(pubsub, "RECHECK_EVERY", 1_000.0)
    monkeypatch.setattr(pubsub, "RECONNECT_AFTER", 0.02)
    made = ChangeSubscriber(fakeredis.FakeRedis(server=server), changed)
    yield made
    made.stop()


def subscribed(redis: Redis, count: int = 1) -> Callable[[], bool]:
    return lambda: dict(redis.pubsub_numsub(CHANNEL))[CHANNEL.encode()] == count


def started(subscriber: ChangeSubscriber, redis: Redis) -> None:
    subscriber.start()
    until(subscribed(redis))


def test_any_change_wakes_those_who_watch_the_inbox(subscriber: ChangeSubscriber, redis: Redis) -> None:
    """A change of any pause wakes them."""
    started(subscriber, redis)
    with subscriber.listening(INBOX) as all_of_them, subscriber.listening(uuid4()) as one:
        send(redis, [uuid4()])
        assert all_of_them.wait(SECONDS)
        assert not one.is_set()


def test_a_wake_up_reaches_those_who_wait_for_it(subscriber: ChangeSubscriber, redis: Redis) -> None:
    """It wakes all of them and no others."""
    started(subscriber, redis)
    id_, other, third = uuid4(), uuid4(), uuid4()
    with subscriber.listening(id_) as one, subscriber.listening(id_) as two, subscriber.listening(other) as stranger:
        send(redis, [third, id_])
        assert one.wait(SECONDS)
        assert two.wait(SECONDS)
        assert not stranger.is_set()


def test_a_thousand_wait_on_one_subscription(subscriber: ChangeSubscriber, redis: Redis) -> None:
    """Each is woken, and when they are gone nothing is left of them."""
    started(subscriber, redis)
    ids = [uuid4() for _ in range(1_000)]
    woken, ready = [], threading.Barrier(1_001)

    def hold(id_: UUID) -> None:
        with subscriber.listening(id_) as event:
            ready.wait(SECONDS)
            woken.append(event.wait(SECONDS))

    threading.stack_size(256 * 1024)
    threads = [threading.Thread(target=hold, args=(id_,)) for id_ in ids]
    threading.stack_size(0)
    for thread in threads:
        thread.start()
    ready.wait(SECONDS)
    assert subscriber.waiting == 1_000
    assert subscribed(redis)()
    for start in range(0, 1_000, 100):
        send(redis, ids[start : start + 100])
    for thread in threads:
        thread.join(SECONDS)
    assert woken == [True] * 1_000
    assert subscriber.waiting == 0


def test_a_listener_is_forgotten_when_done(subscriber: ChangeSubscriber) -> None:
    """Also when it ends with an error; others for the same id stay."""
    id_ = uuid4()
    with subscriber.listening(id_):
        with pytest.raises(ZeroDivisionError), subscriber.listening(id_):
            raise ZeroDivisionError
        assert subscriber.waiting == 1
    assert subscriber.waiting == 0


def test_the_re_check_finds_what_the_channel_lost(
    subscriber: ChangeSubscriber, changed: Changed, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question for all that is waited for, and for nothing else; and an error is not the end of it."""
    monkeypatch.setattr(pubsub, "RECHECK_EVERY", 0.01)
    changed.fails = True
    started(subscriber, redis)
    lost, unchanged = uuid4(), uuid4()
    changed.ids = {lost}
    with subscriber.listening(lost) as event, subscriber.listening(unchanged) as other:
        until(lambda: len(changed.asked) > 1)
        assert not event.is_set()
        changed.fails = False
        assert event.wait(SECONDS)
        assert not other.is_set()
    assert all(asked for asked in changed.asked)
    assert sorted([lost, unchanged]) in [sorted(asked) for asked in changed.asked]
    changed.asked.clear()
    later = uuid4()
    with subscriber.listening(later):
        until(lambda: [later] in changed.asked)


@pytest.mark.parametrize(
    "garbage",
    [b"", b",", b"hello", b"\xff\xfe", b"0" * 31, b"0" * 100_000, "0" * 31 + "é", f"{UUID(int=1)},oops"],
)
def test_garbage_on_the_channel_is_ignored(
    subscriber: ChangeSubscriber, redis: Redis, garbage: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once in the log; the next message is heard."""
    started(subscriber, redis)
    id_ = uuid4()
    with caplog.at_level(logging.WARNING), subscriber.listening(id_) as event:
        redis.publish(CHANNEL, garbage)
        send(redis, [id_])
        assert event.wait(SECONDS)
    assert [record.getMessage() for record in caplog.records] == ["a wake-up that is not a list of ids was ignored"]


def test_redis_away_at_the_start_and_again_later(
    subscriber: ChangeSubscriber, server: fakeredis.FakeServer, redis: Redis
) -> None:
    """It goes on trying, and listens as soon as Redis is there."""
    server.connected = False
    subscriber.start()
    id_ = uuid4()
    for _ in range(2):
        with pytest.raises(RedisError):
            send(redis, [id_])
        server.connected = True
        until(subscribed(redis))
        with subscriber.listening(id_) as event:
            send(redis, [id_])
            assert event.wait(SECONDS)
        server.connected = False


def test_the_listening_thread_outlives_any_error(changed: Changed, monkeypatch: pytest.MonkeyPatch) -> None:
    """This covers more than Redis' own errors, because the thread is never restarted."""
    monkeypatch.setattr(pubsub, "RECONNECT_AFTER", 0.02)

    class Odd(fakeredis.FakeRedis):
        troubles = 3

        def pubsub(self, **options: object) -> object:
            if self.troubles:
                self.troubles -= 1
                raise OSError("a socket of its own")
            return super().pubsub(**options)

    server = fakeredis.FakeServer()
    subscriber = ChangeSubscriber(Odd(server=server), changed)
    started(subscriber, fakeredis.FakeRedis(server=server))
    subscriber.stop()


def test_stop_wakes_everyone(subscriber: ChangeSubscriber, redis: Redis) -> None:
    """Long polls end at once when the process stops."""
    started(subscriber, redis)
    with subscriber.listening(uuid4()) as event:
        assert not subscriber.stopped
        subscriber.stop()
        assert event.wait(SECONDS)
        assert subscriber.stopped
        subscriber.sleep(10 * SECONDS)
    until(subscribed(redis, 0))


def test_over_a_real_redis(servers: Stack, changed: Changed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up arrives; and again after the server has cut off the subscription."""
    monkeypatch.setattr(pubsub, "RECONNECT_AFTER", 0.02)
    publisher = connect(servers.redis_url)
    subscriber = ChangeSubscriber(connect(servers.redis_url), changed)

    def subscribers() -> set[str]:
        return {client["id"] for client in publisher.client_list(_type="pubsub") if client["sub"] == "1"}

    subscriber.start()
    cut_off: set[str] = set()
    try:
        for _ in range(2):
            until(lambda known=cut_off: bool(subscribers() - known))
            id_ = uuid4()
            with subscriber.listening(id_) as event:
                send(publisher, [id_])
                assert event.wait(SECONDS)
            cut_off = subscribers()
            publisher.client_kill_filter(_type="pubsub")
    finally:
        subscriber.stop()


def test_a_client_gives_up_soon() -> None:
    """The client tries once and gives up within seconds, so no request waits for Redis."""
    client = connect("redis://127.0.0.1:1/0")
    options = client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2, 2)
    with pytest.raises(RedisError):
        send(client, [uuid4()])


def test_whose_requests_are_held_is_counted() -> None:
    subscriber = ChangeSubscriber(connect("redis://127.0.0.1:9"), Changed())
    with (
        subscriber.listening(uuid4(), owner="a"),
        subscriber.listening(INBOX, owner="a"),
        subscriber.listening(INBOX, owner="b"),
    ):
        assert (subscriber.waiting, subscriber.waiting_of("a"), subscriber.waiting_of("b")) == (3, 2, 1)
        assert (subscriber.in_threads, subscriber.waiting_for(INBOX)) == (3, 2)
    assert (subscriber.waiting, subscriber.waiting_of("a")) == (0, 0)
