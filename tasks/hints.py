"""From a row's kind of work to the message for the task that does it.

Celery writes each task's message once, to a broker in memory; a hint is a copy of it with ids of its own. To have it
written anew for each hint took more of a web process than the request that the hint is about (docs/adr/0021).
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from uuid import uuid4

from celery import current_app
from redis import Redis

from services.due import DECISION, NOTIFICATION, SAGA, WEBHOOK
from services.transaction import Hint

TASKS = {
    WEBHOOK: "tasks.webhooks.deliver",
    SAGA: "tasks.sagas.advance",
    DECISION: "tasks.decisions.apply",
    NOTIFICATION: "tasks.notifications.send",
}
# What stands in the message that is copied where a copy has ids of its own.
_ROW, _MESSAGE, _BODY = "{row}", "{message}", "{body}"


def send_hints(redis: Redis, hints: Sequence[Hint]) -> None:
    """`redis`: the broker. Raises when it does not take them within its short timeout: then they may be lost."""
    queued: dict[str, list[str]] = {}
    for hint in hints:
        queue, message, body = _written(hint.kind)
        row = hint.id.hex
        copy = message.replace(_ROW, row).replace(_MESSAGE, str(uuid4()))
        queued.setdefault(queue, []).append(copy.replace(_BODY, b64encode(body.replace(_ROW, row).encode()).decode()))
    for queue, messages in queued.items():
        redis.lpush(queue, *messages)


@cache
def _written(kind: str) -> tuple[str, str, str]:
    """The queue, the message with everything around its body, and the body."""
    task = TASKS[kind]
    queue = current_app.amqp.router.route({}, task)["queue"].name
    with current_app.connection_for_write("memory://") as broker:
        current_app.send_task(task, args=(_ROW,), task_id=_MESSAGE, connection=broker)
        written = broker.default_channel.basic_get(queue, no_ack=True)
    message = written.serializable() | {"body": _BODY}
    message["properties"]["delivery_tag"] = _MESSAGE
    return queue, json.dumps(message), written.body.decode()
