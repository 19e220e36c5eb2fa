"""Hints as messages: what a worker takes from the broker is what Celery itself would have sent."""

import json
from uuid import UUID, uuid4

import pytest
from celery import current_app
from redis import Redis
from redis.exceptions import RedisError

from services.due import DECISION, SAGA, WEBHOOK
from services.transaction import Hint, Store
from tasks.hints import TASKS, send_hints

pytestmark = pytest.mark.usefixtures("worker")
# What is another's in each message, or tells which process or thread has sent it.
IDS = {"id", "root_id", "correlation_id", "delivery_tag", "reply_to"}


def sent(redis: Redis, queue: str) -> list[dict[str, object]]:
    """The oldest first."""
    found = redis.lrange(queue, 0, -1)
    assert isinstance(found, list)
    return [json.loads(message) for message in reversed(found)]


def rows_in(messages: list[dict[str, object]]) -> list[UUID]:
    return [UUID(hex=message["headers"]["argsrepr"][2:-3]) for message in messages]  # type: ignore[index]


@pytest.mark.parametrize("kind", TASKS)
def test_the_same_as_celery_would_send(redis: Redis, worker: Store, kind: str) -> None:
    """But for the ids of the message, of which each has its own."""
    row = uuid4()
    send_hints(redis, [Hint(kind, row)])
    ((queue,),) = [redis.keys("*")]
    current_app.send_task(TASKS[kind], args=(row.hex,))
    ours, celerys = sent(redis, queue.decode())
    ids = [ours["headers"].pop(name) for name in ("id", "root_id")]  # type: ignore[attr-defined]
    ids += [ours["properties"].pop(name) for name in ("correlation_id", "delivery_tag")]  # type: ignore[attr-defined]
    assert {UUID(id_) for id_ in ids} == {UUID(ids[0])}
    # Of the thread that had the first such message written, in whichever test. Nobody replies.
    del ours["properties"]["reply_to"]  # type: ignore[attr-defined]
    for part in ("headers", "properties"):
        for name in IDS & celerys[part].keys():  # type: ignore[attr-defined]
            del celerys[part][name]  # type: ignore[attr-defined]
    assert ours == celerys


def test_many_at_once_in_their_order(redis: Redis) -> None:
    """The first is taken first; each kind in its queue, and no two messages have an id in common."""
    sagas, others = [uuid4() for _ in range(20)], [uuid4() for _ in range(3)]
    hints = [Hint(SAGA, id_) for id_ in sagas]
    hints[7:7] = [Hint(DECISION, others[0]), Hint(WEBHOOK, others[1]), Hint(DECISION, others[2])]
    send_hints(redis, hints)
    assert rows_in(sent(redis, "sagas")) == sagas
    assert rows_in(sent(redis, "decisions")) == [others[0], others[2]]
    assert rows_in(sent(redis, "webhooks")) == [others[1]]
    assert len({message["headers"]["id"] for message in sent(redis, "sagas")}) == 20  # type: ignore[index]


def test_a_broker_that_is_away_is_the_senders_to_know() -> None:
    with pytest.raises(RedisError):
        send_hints(Redis.from_url("redis://127.0.0.1:1"), [Hint(SAGA, uuid4())])
