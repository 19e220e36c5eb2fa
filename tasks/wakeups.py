"""Wake-ups of workers as Celery messages, and those of waiting agents, in one round trip.

Celery serializes each task's message once, to a broker in memory. A wake-up is a copy with its own ids. Serializing
every wake-up took more of a web process than the request that caused it (docs/adr/0021).
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from uuid import UUID, uuid4

from celery import current_app
from redis import Redis

from adapters.redis import pubsub
from services.kernel.leases import DECISION, NOTIFICATION, SAGA, WEBHOOK
from services.kernel.unit_of_work import WakeUp

TASKS = {
    WEBHOOK: "tasks.webhooks.deliver",
    SAGA: "tasks.sagas.advance",
    DECISION: "tasks.decisions.apply",
    NOTIFICATION: "tasks.notifications.send",
}
# Messages in one queue, some seconds of a worker's time. A longer queue would make every namespace wait, and an hour
# without workers would fill Redis.
MAX_QUEUED = 200
# Rows that one message may name, where the worker claims several in one transaction. Larger transactions are hardly
# cheaper for each row, and other workers get none of them.
ROWS = {SAGA: 20, DECISION: 20}
# Placeholders for the ids in the template of a message.
_ROW, _MESSAGE, _BODY = "{row}", "{message}", "{body}"
_ARGUMENTS = repr((_ROW,))


def send_wakeups(redis: Redis, wakeups: Sequence[WakeUp], changed: Sequence[UUID] = ()) -> None:
    """Send the wake-ups to `redis`, the broker, and the ids that have changed to the processes of waiting agents.

    Raises if the broker does not accept them within its short timeout; they may then be lost.
    """
    rows: dict[tuple[str, bool], list[UUID]] = {}
    for wakeup in wakeups:
        rows.setdefault((wakeup.kind, wakeup.chosen), []).append(wakeup.id)
    queued: dict[tuple[str, bool], list[str]] = {}
    for (kind, chosen), ids in rows.items():
        most = ROWS.get(kind, 1)
        for first in range(0, len(ids), most):
            queue, message = message_to(TASKS[kind], *ids[first : first + most])
            queued.setdefault((queue, chosen), []).append(message)
    with redis.pipeline(transaction=False) as pipe:
        if changed:
            pubsub.send(pipe, changed)
        # Workers pop from the right. Chosen wake-ups go there in reverse order, so that the first is popped first.
        for (queue, chosen), messages in queued.items():
            if chosen:
                pipe.rpush(queue, *reversed(messages))
            else:
                pipe.lpush(queue, *messages)
        for queue in dict.fromkeys(queue for queue, _ in queued):
            # Drop the newest beyond the limit: a sweep selects among their rows.
            pipe.ltrim(queue, -MAX_QUEUED, -1)
        pipe.execute()


def message_to(task: str, *ids: UUID) -> tuple[str, str]:
    """Return the task's queue and the message that calls the task with these ids."""
    queue, message, body = _template(task)
    copy = message.replace(_ARGUMENTS, repr(tuple(id_.hex for id_ in ids))).replace(_MESSAGE, str(uuid4()))
    filled = body.replace(json.dumps(_ROW), ", ".join(json.dumps(id_.hex) for id_ in ids))
    return queue, copy.replace(_BODY, b64encode(filled.encode()).decode())


@cache
def _template(task: str) -> tuple[str, str, str]:
    """Return the queue, the message around the body, and the body."""
    queue = current_app.amqp.router.route({}, task)["queue"].name
    with current_app.connection_for_write("memory://") as broker:
        current_app.send_task(task, args=(_ROW,), task_id=_MESSAGE, connection=broker)
        sent = broker.default_channel.basic_get(queue, no_ack=True)
    message = sent.serializable() | {"body": _BODY}
    message["properties"]["delivery_tag"] = _MESSAGE
    return queue, json.dumps(message), sent.body.decode()
