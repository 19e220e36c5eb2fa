"""Work that raises each time: after a few tries an operator learns why, and may have it tried again."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.delivery.notification import compose
from domain.identity.access import Role
from domain.manifests.definition import DefinitionGone
from domain.sagas.step import STUCK
from domain.values import ids
from services.kernel.leases import NOTIFICATION, SAGA, WEBHOOK
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.manifests.definitions import _cache
from services.notifications.worker import claim_notification
from services.operations.giving_up import WAITS, failed
from services.operations.health import backlog
from services.sagas.lifecycle import cancel_saga
from services.sagas.queries import SagaFilter, StepRef, get_saga, list_sagas
from services.sagas.recovery import Retry, retry_step
from services.webhooks.deliveries import get_delivery, redeliver
from services.webhooks.worker import claim_delivery
from tests.services.people import notifications, person, tell
from tests.services.saga_turns import advance
from tests.services.saga_world import EVENTS, saga_of, start, statuses, step, tools, wait, work
from tests.services.world import OPERATOR, an_endpoint, change, deliveries, one, post, someone

TRIES = len(WAITS) + 1
EVERY = someone(Role.OPERATOR, "*")


def without_worker(database: Database, *steps: dict[str, Any]) -> UUID:
    """A saga whose worker's definition is gone."""
    trace_id = start(database, *steps)
    assert change(database, "DELETE FROM definitions WHERE kind = 'worker'") == 1
    _cache.clear()
    return trace_id


def try_it(database: Database, trace_id: UUID) -> None:
    """As a worker's task does."""
    try:
        advance(database, trace_id)
    except DefinitionGone as error:
        failed(database, SAGA, trace_id, error)


def until_stuck(database: Database, trace_id: UUID) -> None:
    for number in range(TRIES):
        assert not saga_of(database, trace_id).needs_operator, f"after {number} tries"
        wait(database, trace_id)
        try_it(database, trace_id)


def told(database: Database) -> list[str]:
    return [row["type"] for row in deliveries(database)]


def test_a_saga_that_no_worker_can_run_needs_an_operator(database: Database) -> None:
    """It is tried again later, a limited number of times, and the reason is shown."""
    an_endpoint(database, event_types=EVENTS)
    person(database, "olga", "json://o", role="operator")
    trace_id = without_worker(database, step("a"))
    until_stuck(database, trace_id)
    (message,) = notifications(database)
    assert (message["reason"], message["recipient"]) == ("stuck", "olga@example.com")
    job = claim_notification(database, message["id"])
    assert job is not None
    assert "there is no definition" in compose(job.content).text
    found = get_saga(database, OPERATOR, trace_id)
    assert (found["status"], found["needs_operator"], found["error_details"]["code"]) == ("PENDING", True, STUCK)
    assert "there is no definition" in found["error_details"]["message"]
    assert told(database) == ["saga.needs_operator"]
    assert "there is no definition" in deliveries(database)[0]["body"]
    assert [
        item["trace_id"] for item in list_sagas(database, OPERATOR, SagaFilter(needs_operator=True), Page()).items
    ] == [trace_id.hex]
    assert backlog(database).sagas_needing_operator == 1
    # It rests.
    assert one(database, "SELECT due_at FROM sagas") is None
    assert advance(database, trace_id) is None


def test_it_is_tried_later_each_time(database: Database) -> None:
    trace_id = without_worker(database, step("a"))
    waits = []
    for _ in WAITS:
        wait(database, trace_id)
        try_it(database, trace_id)
        waits.append(one(database, "SELECT s.due_at - a.failed_at FROM sagas s JOIN set_aside a ON a.id = s.id"))
    assert tuple(waits) == WAITS


def test_retried_when_the_cause_is_mended(database: Database) -> None:
    """The saga continues where it was, without repeating a call."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, step("a"), step("b"))
    call = advance(database, trace_id)
    assert call is not None
    change(database, "UPDATE sagas SET workers = '{}', leased_until = now() - interval '1 s'")
    until_stuck(database, trace_id)
    worker = one(database, "SELECT id FROM definitions WHERE kind = 'worker'")
    change(database, "UPDATE sagas SET workers = json_build_object('w@1', :id ::text)", id=worker.hex)
    span = get_saga(database, OPERATOR, trace_id)["steps"][0]["step_span_id"]
    assert retry_step(database, OPERATOR, StepRef(trace_id, span), Retry())["status"] == "requeued"
    found = get_saga(database, OPERATOR, trace_id)
    assert (found["needs_operator"], found["error_details"]) == (False, None)
    # The outcome of the first call is unknown, and reported next.
    made = tools()
    work(database, trace_id, made)
    assert made.calls == []
    assert get_saga(database, OPERATOR, trace_id)["steps"][0]["error_details"]["code"] == "OUTCOME_UNKNOWN"
    assert told(database) == ["saga.needs_operator"] * 2


def test_it_may_be_cancelled(database: Database) -> None:
    trace_id = without_worker(database, step("a"))
    until_stuck(database, trace_id)
    cancel_saga(database, OPERATOR, trace_id, "enough")
    assert not one(database, "SELECT needs_operator FROM sagas")
    work(database, trace_id, tools())
    assert statuses(database, trace_id) == ("FAILED", "SKIPPED")


def test_a_saga_that_a_worker_is_at_is_left_alone(database: Database) -> None:
    """Its call may be under way."""
    trace_id = start(database, step("a"))
    call = advance(database, trace_id)
    assert call is not None
    failed(database, SAGA, trace_id, ValueError("x"))
    assert one(database, "SELECT lease_token FROM sagas") == call.lease.token
    assert one(database, "SELECT count(*) FROM set_aside") == 0


def test_a_delivery_is_given_up(database: Database) -> None:
    """It may be sent again. Its reason does not quote an unexpected error."""
    an_endpoint(database, event_types=("pause.created",))
    post(database)
    id_ = deliveries(database)[0]["id"]
    for _ in range(TRIES):
        change(database, "UPDATE webhook_deliveries SET due_at = now()")
        job = claim_delivery(database, id_)
        assert job is not None
        failed(database, WEBHOOK, id_, ValueError("hunter2"), job.lease.token)
    shown = get_delivery(database, EVERY, ids.text(ids.DELIVERY, id_))
    assert (shown["status"], "ValueError" in shown["last_error"], "hunter2" in shown["last_error"]) == (
        "exhausted",
        True,
        False,
    )
    assert redeliver(database, EVERY, shown["id"])["status"] == "pending"


def test_a_delivery_that_is_anothers_by_now_is_left_alone(database: Database) -> None:
    an_endpoint(database, event_types=("pause.created",))
    post(database)
    id_ = deliveries(database)[0]["id"]
    job = claim_delivery(database, id_)
    assert job is not None
    failed(database, WEBHOOK, id_, ValueError(), uuid4())
    assert deliveries(database)[0]["lease_token"] == job.lease.token


def test_a_notification_is_given_up(database: Database) -> None:
    person(database, "anne", "json://a")
    tell(database, post(database))
    (row,) = notifications(database)
    for _ in range(TRIES):
        failed(database, NOTIFICATION, row["id"], ValueError("x"))
    (row,) = notifications(database)
    assert (row["status"], "ValueError" in row["last_error"]) == ("failed", True)
    assert backlog(database).failed_notifications == 1


@pytest.mark.parametrize("kind", [SAGA, WEBHOOK, NOTIFICATION])
def test_what_is_gone_is_forgotten(database: Database, kind: str) -> None:
    failed(database, kind, uuid4(), ValueError("x"))
    assert backlog(database).set_aside == 0
