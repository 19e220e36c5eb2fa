"""Wake-ups as messages: they equal the messages that Celery itself would send."""

import ast
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app
from redis import Redis
from redis.exceptions import RedisError

from adapters.redis import pubsub
from services.kernel.leases import DECISION, SAGA, WEBHOOK
from services.kernel.unit_of_work import Database, WakeUp
from tasks.wakeups import MAX_QUEUED, ROWS, TASKS, send_wakeups

pytestmark = pytest.mark.usefixtures("worker")
# Each message's own.
IDS = ("id", "root_id", "correlation_id", "delivery_tag")


def sent(redis: Redis, queue: str) -> list[dict[str, Any]]:
    """The oldest first."""
    found = redis.lrange(queue, 0, -1)
    assert isinstance(found, list)
    return [json.loads(message) for message in reversed(found)]


def rows_in(messages: list[dict[str, Any]]) -> list[UUID]:
    return [UUID(hex=id_) for message in messages for id_ in ast.literal_eval(message["headers"]["argsrepr"])]


def _taken(message: dict[str, Any], *names: str) -> list[str]:
    """Out of it."""
    parts = (message["headers"], message["properties"])
    return [part.pop(name) for part in parts for name in names if name in part]


@pytest.mark.parametrize("kind", TASKS)
def test_the_same_as_celery_would_send(redis: Redis, worker: Database, kind: str) -> None:
    """But for the ids of the message, of which each has its own."""
    row = uuid4()
    send_wakeups(redis, [WakeUp(kind, row)])
    ((queue,),) = [redis.keys("*")]
    current_app.send_task(TASKS[kind], args=(row.hex,))
    ours, celerys = sent(redis, queue.decode())
    assert len({UUID(id_) for id_ in _taken(ours, *IDS)}) == 1
    _taken(celerys, *IDS)
    # `reply_to` depends on the sending thread, and no reply is ever sent.
    _taken(ours, "reply_to"), _taken(celerys, "reply_to")
    assert ours == celerys


def test_many_at_once_in_their_order(redis: Redis) -> None:
    """The first is taken first; each kind in its queue, several sagas in one message, and each message with its id."""
    sagas, others = [uuid4() for _ in range(ROWS[SAGA] + 1)], [uuid4() for _ in range(3)]
    wakeups = [WakeUp(SAGA, id_) for id_ in sagas]
    wakeups[7:7] = [WakeUp(DECISION, others[0]), WakeUp(WEBHOOK, others[1]), WakeUp(DECISION, others[2])]
    send_wakeups(redis, wakeups)
    assert rows_in(sent(redis, "sagas")) == sagas
    assert rows_in(sent(redis, "decisions")) == [others[0], others[2]]
    assert rows_in(sent(redis, "webhooks")) == [others[1]]
    assert len({message["headers"]["id"] for message in sent(redis, "sagas")}) == 2


def test_agents_hear_of_it_with_the_workers(redis: Redis) -> None:
    row, pauses = uuid4(), [uuid4(), uuid4()]
    with redis.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(pubsub.CHANNEL)
        heard.get_message(timeout=90)
        send_wakeups(redis, [WakeUp(SAGA, row)], pauses)
        message = heard.get_message(timeout=90)
    assert message is not None
    assert message["data"].decode() == ",".join(id_.hex for id_ in pauses)
    assert rows_in(sent(redis, "sagas")) == [row]


def test_a_broker_that_is_away_is_the_senders_to_know() -> None:
    with pytest.raises(RedisError):
        send_wakeups(Redis.from_url("redis://127.0.0.1:1"), [WakeUp(SAGA, uuid4())])


def test_those_that_were_chosen_go_first(redis: Redis) -> None:
    """Before all that only came first, and among themselves in their order."""
    came, chosen = [uuid4() for _ in range(3)], [uuid4() for _ in range(3)]
    send_wakeups(redis, [WakeUp(SAGA, id_) for id_ in came])
    send_wakeups(redis, [WakeUp(SAGA, id_, chosen=True) for id_ in chosen])
    assert rows_in(sent(redis, "sagas")) == chosen + came


def test_a_queue_that_nobody_reads_does_not_grow(redis: Redis) -> None:
    """Those that came last are dropped; those that were chosen take the place of others."""
    came, chosen = [uuid4() for _ in range(MAX_QUEUED + 20)], [uuid4() for _ in range(5)]
    for id_ in came[:30]:
        send_wakeups(redis, [WakeUp(WEBHOOK, id_)])
    send_wakeups(redis, [WakeUp(WEBHOOK, id_) for id_ in came[30:]])
    assert rows_in(sent(redis, "webhooks")) == came[:MAX_QUEUED]
    send_wakeups(redis, [WakeUp(WEBHOOK, id_, chosen=True) for id_ in chosen])
    assert rows_in(sent(redis, "webhooks")) == chosen + came[: MAX_QUEUED - 5]
