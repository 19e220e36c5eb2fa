"""From a row's kind of work to the task that does it."""

from celery import current_app

from services.due import DECISION, NOTIFICATION, SAGA, WEBHOOK
from services.transaction import Hint

TASKS = {
    WEBHOOK: "tasks.webhooks.deliver",
    SAGA: "tasks.sagas.advance",
    DECISION: "tasks.decisions.apply",
    NOTIFICATION: "tasks.notifications.send",
}


def send_hint(hint: Hint) -> None:
    """Raises when the broker does not take it within its short timeout; the caller knows that a hint may be lost."""
    current_app.send_task(TASKS[hint.kind], args=(hint.id.hex,))
