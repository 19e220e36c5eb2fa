"""Work that raises each time: tried a few times, then an operator is told why, and may have it tried again."""

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
from services.kernel.unit_of_work import Store
from services.manifests.definitions import _remembered
from services.notifications.worker import claim_notification
from services.operations.giving_up import WAITS, failed
from services.operations.health import backlog
from services.sagas.engine import advance
from services.sagas.lifecycle import cancel_saga
from services.sagas.queries import SagaFilter, StepRef, get_saga, list_sagas
from services.sagas.recovery import Retry, retry_step
from services.webhooks.deliveries import get_delivery, redeliver
from services.webhooks.worker import claim_delivery
from tests.services.people import notifications, person, tell
from tests.services.saga_world import EVENTS, saga_of, start, statuses, step, tools, wait, work
from tests.services.world import OPERATOR, an_endpoint, change, deliveries, one, post, someone

TRIES = len(WAITS) + 1
EVERY = someone(Role.OPERATOR, "*")


def without_worker(store: Store, *steps: dict[str, Any]) -> UUID:
    """A saga whose worker's definition is gone."""
    trace_id = start(store, *steps)
    assert change(store, "DELETE FROM definitions WHERE kind = 'worker'") == 1
    _remembered.clear()
    return trace_id


def try_it(store: Store, trace_id: UUID) -> None:
    """As a worker's task does."""
    try:
        advance(store, trace_id)
    except DefinitionGone as error:
        failed(store, SAGA, trace_id, error)


def until_stuck(store: Store, trace_id: UUID) -> None:
    for number in range(TRIES):
        assert not saga_of(store, trace_id).needs_operator, f"after {number} tries"
        wait(store, trace_id)
        try_it(store, trace_id)


def told(store: Store) -> list[str]:
    return [row["type"] for row in deliveries(store)]


def test_a_saga_that_no_worker_can_run_needs_an_operator(store: Store) -> None:
    """Not at once, and not for ever; with the reason, where one looks for it."""
    an_endpoint(store, event_types=EVENTS)
    person(store, "olga", "json://o", role="operator")
    trace_id = without_worker(store, step("a"))
    until_stuck(store, trace_id)
    (message,) = notifications(store)
    assert (message["reason"], message["recipient"]) == ("stuck", "olga@example.com")
    errand = claim_notification(store, message["id"])
    assert errand is not None
    assert "there is no definition" in compose(errand.letter).text
    found = get_saga(store, OPERATOR, trace_id)
    assert (found["status"], found["needs_operator"], found["error_details"]["code"]) == ("PENDING", True, STUCK)
    assert "there is no definition" in found["error_details"]["message"]
    assert told(store) == ["saga.needs_operator"]
    assert "there is no definition" in deliveries(store)[0]["body"]
    assert [
        item["trace_id"] for item in list_sagas(store, OPERATOR, SagaFilter(needs_operator=True), Page()).items
    ] == [trace_id.hex]
    assert backlog(store).sagas_needing_operator == 1
    # It rests.
    assert one(store, "SELECT due_at FROM sagas") is None
    assert advance(store, trace_id) is None


def test_it_is_tried_later_each_time(store: Store) -> None:
    trace_id = without_worker(store, step("a"))
    waits = []
    for _ in WAITS:
        wait(store, trace_id)
        try_it(store, trace_id)
        waits.append(one(store, "SELECT s.due_at - a.failed_at FROM sagas s JOIN set_aside a ON a.id = s.id"))
    assert tuple(waits) == WAITS


def test_retried_when_the_cause_is_mended(store: Store) -> None:
    """From where it stands: what was called is not called again."""
    an_endpoint(store, event_types=EVENTS)
    trace_id = start(store, step("a"), step("b"))
    call = advance(store, trace_id)
    assert call is not None
    change(store, "UPDATE sagas SET workers = '{}', leased_until = now() - interval '1 s'")
    until_stuck(store, trace_id)
    worker = one(store, "SELECT id FROM definitions WHERE kind = 'worker'")
    change(store, "UPDATE sagas SET workers = json_build_object('w@1', :id ::text)", id=worker.hex)
    span = get_saga(store, OPERATOR, trace_id)["steps"][0]["step_span_id"]
    assert retry_step(store, OPERATOR, StepRef(trace_id, span), Retry())["status"] == "requeued"
    found = get_saga(store, OPERATOR, trace_id)
    assert (found["needs_operator"], found["error_details"]) == (False, None)
    # The first call's outcome is unknown: that is the next thing to be told, and not made up for.
    made = tools()
    work(store, trace_id, made)
    assert made.calls == []
    assert get_saga(store, OPERATOR, trace_id)["steps"][0]["error_details"]["code"] == "OUTCOME_UNKNOWN"
    assert told(store) == ["saga.needs_operator"] * 2


def test_it_may_be_cancelled(store: Store) -> None:
    trace_id = without_worker(store, step("a"))
    until_stuck(store, trace_id)
    cancel_saga(store, OPERATOR, trace_id, "enough")
    assert not one(store, "SELECT needs_operator FROM sagas")
    work(store, trace_id, tools())
    assert statuses(store, trace_id) == ("FAILED", "SKIPPED")


def test_a_saga_that_a_worker_is_at_is_left_alone(store: Store) -> None:
    """Its call may be under way."""
    trace_id = start(store, step("a"))
    call = advance(store, trace_id)
    assert call is not None
    failed(store, SAGA, trace_id, ValueError("x"))
    assert one(store, "SELECT lease_token FROM sagas") == call.lease.token
    assert one(store, "SELECT count(*) FROM set_aside") == 0


def test_a_delivery_is_given_up(store: Store) -> None:
    """And may be sent again. Its reason quotes nothing that nobody has foreseen."""
    an_endpoint(store, event_types=("pause.created",))
    post(store)
    id_ = deliveries(store)[0]["id"]
    for _ in range(TRIES):
        change(store, "UPDATE webhook_deliveries SET due_at = now()")
        parcel = claim_delivery(store, id_)
        assert parcel is not None
        failed(store, WEBHOOK, id_, ValueError("hunter2"), parcel.lease.token)
    shown = get_delivery(store, EVERY, ids.text(ids.DELIVERY, id_))
    assert (shown["status"], "ValueError" in shown["last_error"], "hunter2" in shown["last_error"]) == (
        "exhausted",
        True,
        False,
    )
    assert redeliver(store, EVERY, shown["id"])["status"] == "pending"


def test_a_delivery_that_is_anothers_by_now_is_left_alone(store: Store) -> None:
    an_endpoint(store, event_types=("pause.created",))
    post(store)
    id_ = deliveries(store)[0]["id"]
    parcel = claim_delivery(store, id_)
    assert parcel is not None
    failed(store, WEBHOOK, id_, ValueError(), uuid4())
    assert deliveries(store)[0]["lease_token"] == parcel.lease.token


def test_a_notification_is_given_up(store: Store) -> None:
    person(store, "anne", "json://a")
    tell(store, post(store))
    (row,) = notifications(store)
    for _ in range(TRIES):
        failed(store, NOTIFICATION, row["id"], ValueError("x"))
    (row,) = notifications(store)
    assert (row["status"], "ValueError" in row["last_error"]) == ("failed", True)
    assert backlog(store).failed_notifications == 1


@pytest.mark.parametrize("kind", [SAGA, WEBHOOK, NOTIFICATION])
def test_what_is_gone_is_forgotten(store: Store, kind: str) -> None:
    failed(store, kind, uuid4(), ValueError("x"))
    assert backlog(store).set_aside == 0
