"""From a row's kind of work to the message for the task that does it.

Celery writes each task's message once, to a broker in memory; a hint is a copy of it with ids of its own. To have it
written anew for each hint took more of a web process than the request that the hint is about (docs/adr/0021).
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from uuid import UUID, uuid4

from celery import current_app
from redis import Redis

from services.kernel.leases import DECISION, NOTIFICATION, SAGA, WEBHOOK
from services.kernel.unit_of_work import WakeUp

TASKS = {
    WEBHOOK: "tasks.webhooks.deliver",
    SAGA: "tasks.sagas.advance",
    DECISION: "tasks.decisions.apply",
    NOTIFICATION: "tasks.notifications.send",
}
# Hints in one queue: a second or two of a worker's time. More would wait there behind all others, whoever's they are,
# and an hour without workers would fill Redis.
MOST_WAITING = 500
# What stands in the message that is copied where a copy has ids of its own.
_ROW, _MESSAGE, _BODY = "{row}", "{message}", "{body}"


def send_wakeups(redis: Redis, wakeups: Sequence[WakeUp]) -> None:
    """`redis`: the broker. Raises when it does not take them within its short timeout: then they may be lost."""
    queued: dict[tuple[str, bool], list[str]] = {}
    for wakeup in wakeups:
        queue, message = message_to(TASKS[wakeup.kind], wakeup.id)
        queued.setdefault((queue, wakeup.chosen), []).append(message)
    with redis.pipeline(transaction=False) as pipe:
        # Taken from the right: there those that were chosen come, the first of them last.
        for (queue, chosen), messages in queued.items():
            if chosen:
                pipe.rpush(queue, *reversed(messages))
            else:
                pipe.lpush(queue, *messages)
        for queue in dict.fromkeys(queue for queue, _ in queued):
            # The last are dropped: a sweep chooses among their rows.
            pipe.ltrim(queue, -MOST_WAITING, -1)
        pipe.execute()


def message_to(task: str, id_: UUID) -> tuple[str, str]:
    """The task's queue, and the message that calls it with this id."""
    queue, message, body = _written(task)
    copy = message.replace(_ROW, id_.hex).replace(_MESSAGE, str(uuid4()))
    return queue, copy.replace(_BODY, b64encode(body.replace(_ROW, id_.hex).encode()).decode())


@cache
def _written(task: str) -> tuple[str, str, str]:
    """The queue, the message with everything around its body, and the body."""
    queue = current_app.amqp.router.route({}, task)["queue"].name
    with current_app.connection_for_write("memory://") as broker:
        current_app.send_task(task, args=(_ROW,), task_id=_MESSAGE, connection=broker)
        written = broker.default_channel.basic_get(queue, no_ack=True)
    message = written.serializable() | {"body": _BODY}
    message["properties"]["delivery_tag"] = _MESSAGE
    return queue, json.dumps(message), written.body.decode()
