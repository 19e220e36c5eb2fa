"""Tasks that raise each time they are hinted at: an operator hears of it, and the queue does not fill up with them."""

import pytest
from sqlalchemy.exc import IntegrityError

from domain.manifests.definition import DefinitionGone
from services.kernel.unit_of_work import Database
from services.manifests.definitions import _cache
from services.operations.giving_up import WAITS
from tasks import notifications, sagas, webhooks
from tests.adapters.receiver import Receiver, reply
from tests.services.operations.test_newer_release import unchecked
from tests.services.people import notifications as messages
from tests.services.people import person, tell
from tests.services.saga_world import saga_of, start, step, wait
from tests.services.world import an_endpoint, change, deliveries, due_now, post

TRIES = len(WAITS) + 1


def test_a_saga_whose_worker_is_gone(database: Database) -> None:
    trace_id = start(database, step("a"))
    change(database, "DELETE FROM definitions WHERE kind = 'worker'")
    _cache.clear()
    for _ in range(TRIES):
        wait(database, trace_id)
        with pytest.raises(DefinitionGone):
            sagas.advance_sagas(trace_id.hex)
    assert saga_of(database, trace_id).needs_operator


def test_a_delivery_whose_attempts_cannot_be_recorded(database: Database) -> None:
    """It would be sent again with every lease that runs out."""
    with Receiver(reply(200)) as receiver:
        an_endpoint(database, url=receiver.url, event_types=("pause.created",))
        post(database)
        id_ = deliveries(database)[0]["id"]
        taken = "INSERT INTO webhook_attempts VALUES (:id, 1, now(), 1, 'succeeded', 200, NULL, NULL)"
        change(database, taken, id=id_)
        for _ in range(TRIES):
            due_now(database)
            with pytest.raises(IntegrityError):
                webhooks.deliver(id_.hex)
        webhooks.deliver(id_.hex)
        assert len(receiver.requests) == TRIES
    assert (deliveries(database)[0]["status"], deliveries(database)[0]["lease_token"]) == ("exhausted", None)


def test_a_notification_of_an_unknown_reason(database: Database) -> None:
    person(database, "anne", "json://127.0.0.1:9")
    with unchecked(database, "notifications", "ck_notifications_reason"):
        tell(database, post(database))
        change(database, "UPDATE notifications SET reason = 'nudge'")
        (row,) = messages(database)
        for _ in range(TRIES):
            change(database, "UPDATE notifications SET due_at = now(), hint_at = now() WHERE status = 'pending'")
            with pytest.raises(ValueError, match="nudge"):
                notifications.send(row["id"].hex)
        assert messages(database)[0]["status"] == "failed"
