"""Endpoints: who makes and changes them, and their deliveries when they fail, move, are switched off or go."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.identity.access import Role
from domain.values.errors import EndpointDisabled, Forbidden, Invalid, NotFound
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database, WakeUp
from services.webhooks import endpoints
from services.webhooks.deliveries import DeliveryFilter, get_delivery, list_deliveries, recover, redeliver
from services.webhooks.endpoints import (
    EndpointChange,
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    get_endpoint,
    list_endpoints,
    rotate_endpoint_secret,
)
from services.webhooks.worker import claim_delivery
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    OPERATOR,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    change,
    claim,
    deliveries,
    due_now,
    finish,
    idempotency,
    one,
    post,
    someone,
)

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ELSEWHERE = "http://127.0.0.1:10/moved"


def statuses(database: Database) -> list[str]:
    return [delivery["status"] for delivery in deliveries(database)]


def test_made_and_read(database: Database) -> None:
    """The secret is shown at the making and never again."""
    made = an_endpoint(database, description="ops", event_types=("pause.created",), headers={"x-a": "b"})
    assert made["secret"].startswith("whsec_")
    shown = get_endpoint(database, ADMIN, made["id"])
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (shown["description"], shown["headers"], shown["enabled"]) == ("ops", {"x-a": "b"}, True)
    assert list_endpoints(database, ADMIN, Page()).items == [shown]


def test_a_repeated_request_makes_one_and_shows_no_secret(database: Database) -> None:
    """The stored answer holds none: it would lie readable in another table."""
    new = EndpointChange(url=CALLBACK, namespaces=("default",))
    made, _ = create_endpoint(database, ADMIN, new, idempotency("key-0001"))
    again, replayed = create_endpoint(database, ADMIN, new, idempotency("key-0001"))
    assert replayed
    assert again == made | {"secret": None}
    assert made["secret"] not in str(one(database, "SELECT answer::text FROM idempotency_keys"))
    assert len(list_endpoints(database, ADMIN, Page()).items) == 1


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"headers": {"host": "x"}}, "headers.host"),
    ],
)
def test_refused_at_the_making_and_at_a_change(database: Database, changes: dict[str, Any], path: str) -> None:
    made = an_endpoint(database)
    for call in (lambda: an_endpoint(database, **changes), lambda: _changed(database, made["id"], **changes)):
        with pytest.raises(Invalid) as caught:
            call()
        assert [field_error.path for field_error in caught.value.field_errors] == [path]


def _changed(database: Database, endpoint_id: str, **changes: Any) -> dict[str, Any]:
    return change_endpoint(database, ADMIN, endpoint_id, EndpointChange(**changes))


def test_an_admin_of_some_namespaces_manages_those_only(database: Database) -> None:
    """An endpoint that hears of more than the admin sees is not there for them, and they cannot make one."""
    narrow = someone(Role.ADMIN, "default")
    mine = an_endpoint(database, narrow)
    others = [an_endpoint(database, namespaces=names) for names in (("other",), ("default", "other"), ("*",))]
    assert [item["id"] for item in list_endpoints(database, narrow, Page()).items] == [mine["id"]]
    for made in [*(other["id"] for other in others), "ep_" + "0" * 32, "nonsense"]:
        for call in (get_endpoint, delete_endpoint, rotate_endpoint_secret, endpoints.test_endpoint):
            with pytest.raises(NotFound):
                call(database, narrow, made)
        with pytest.raises(NotFound):
            change_endpoint(database, narrow, made, EndpointChange(enabled=False))
        with pytest.raises(NotFound):
            recover(database, narrow, made, LONG_AGO)
    for namespaces in (("other",), ("default", "*")):
        with pytest.raises(Forbidden):
            an_endpoint(database, narrow, namespaces=namespaces)
        with pytest.raises(Forbidden):
            change_endpoint(database, narrow, mine["id"], EndpointChange(namespaces=namespaces))


def test_pages(database: Database) -> None:
    """Newest first, each once."""
    made = [an_endpoint(database)["id"] for _ in range(5)][::-1]
    first = list_endpoints(database, ADMIN, Page(3))
    rest = list_endpoints(database, ADMIN, Page(3, after=first.next_after))
    assert [item["id"] for item in [*first.items, *rest.items]] == made
    assert rest.next_after is None
    assert [item["id"] for item in list_endpoints(database, ADMIN, Page(2, 2)).items] == made[2:4]


def test_410_disables_and_ends_what_waits(database: Database, publisher: Recorded) -> None:
    """The endpoint says why; what waits and what comes later is recorded, and not sent."""
    made = an_endpoint(database)
    post(database)
    post(database)
    finish(database, claim(database, deliveries(database)[0]), 410)
    post(database)
    assert statuses(database) == ["exhausted"] * 3
    shown = get_endpoint(database, ADMIN, made["id"])
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "the receiver answered 410 Gone")
    errors = [delivery["last_error"] for delivery in deliveries(database)]
    assert errors == [
        "it failed",
        "the endpoint was disabled: the receiver answered 410 Gone",
        "the endpoint is disabled",
    ]
    publisher.wakeups.clear()
    with pytest.raises(EndpointDisabled):
        redeliver(database, OPERATOR, f"dlv_{deliveries(database)[0]['id'].hex}")
    for call in (endpoints.test_endpoint, lambda *args: recover(*args, LONG_AGO)):
        with pytest.raises(EndpointDisabled):
            call(database, ADMIN, made["id"])
    assert publisher.wakeups == []


def test_failing_for_five_days_disables(database: Database) -> None:
    """One failure more than five days after the first one in a row."""
    made = an_endpoint(database)
    post(database)
    post(database)
    first, _ = deliveries(database)
    finish(database, claim(database, first), 500)
    assert get_endpoint(database, ADMIN, made["id"])["failing_since"] is not None
    change(database, "UPDATE webhook_endpoints SET failing_since = failing_since - interval '5 days 1 min'")
    due_now(database)
    finish(database, claim(database, first), 500)
    assert statuses(database) == ["exhausted"] * 2
    assert "every attempt failed since" in get_endpoint(database, ADMIN, made["id"])["disabled_reason"]


def test_a_success_in_between_forgets(database: Database) -> None:
    made = an_endpoint(database)
    post(database)
    post(database)
    first, second = deliveries(database)
    finish(database, claim(database, first), 500)
    change(database, "UPDATE webhook_endpoints SET failing_since = failing_since - interval '9 days'")
    finish(database, claim(database, second))
    assert get_endpoint(database, ADMIN, made["id"])["failing_since"] is None


def test_recover_brings_back_what_was_missed_in_order(database: Database, publisher: Recorded) -> None:
    """Enabled again, everything since then goes out, the first about a pause first, to where the endpoint is now."""
    made = an_endpoint(database)
    decided = post(database)
    finish(database, claim(database, deliveries(database)[0]), 410)
    decide_pause(database, REVIEWER, decided, approve())
    _changed(database, made["id"], enabled=True, url=ELSEWHERE)
    publisher.wakeups.clear()
    since = deliveries(database)[0]["created_at"]
    assert recover(database, OPERATOR, made["id"], since + timedelta(days=1)) == 0
    assert recover(database, OPERATOR, made["id"], since) == 2
    created, approved = deliveries(database)
    assert publisher.wakeups == [WakeUp("webhook", created["id"]), WakeUp("webhook", approved["id"])]
    assert claim_delivery(database, approved["id"]) is None
    job = claim(database, created)
    assert job.url == ELSEWHERE
    finish(database, job)
    finish(database, claim(database, approved))
    assert [(row["status"], row["attempts"]) for row in deliveries(database)] == [("delivered", 2), ("delivered", 1)]
    assert recover(database, OPERATOR, made["id"], since) == 0


def test_recover_leaves_other_endpoints_alone(database: Database) -> None:
    made, other = an_endpoint(database), an_endpoint(database)
    post(database)
    for row in deliveries(database):
        finish(database, claim(database, row), 500, schedule=())
    assert recover(database, ADMIN, made["id"], LONG_AGO) == 1
    by_endpoint = {f"ep_{row['endpoint_id'].hex}": row["status"] for row in deliveries(database)}
    assert by_endpoint == {made["id"]: "pending", other["id"]: "exhausted"}


def test_what_was_made_for_another_namespace_goes_nowhere_else(database: Database) -> None:
    """An endpoint that served two serves one now: its admin neither moves nor recovers what is the other's."""
    made = an_endpoint(database, namespaces=("default", "other"))
    for agent in (AGENT, someone(Role.AGENT, "other")):
        post(database, agent, namespace=agent.own_namespace)
    _changed(database, made["id"], namespaces=("other",))
    narrow = someone(Role.ADMIN, "other")
    change_endpoint(database, narrow, made["id"], EndpointChange(url=ELSEWHERE))
    first, second = deliveries(database)
    assert (first["namespace"], first["url"], second["url"]) == ("default", CALLBACK, ELSEWHERE)
    for row in (first, second):
        finish(database, claim(database, row), 500, schedule=())
    assert recover(database, narrow, made["id"], LONG_AGO) == 1
    assert statuses(database) == ["exhausted", "pending"]


def test_switched_off_ends_what_waits_and_what_is_under_way_ends_itself(database: Database) -> None:
    """A killed worker's delivery, whose lease has expired, counts as waiting."""
    made = an_endpoint(database)
    for _ in range(3):
        post(database)
    killed, under_way, _ = deliveries(database)
    claim(database, killed)
    change(
        database, "UPDATE webhook_deliveries SET leased_until = now() - interval '1 s' WHERE lease_token IS NOT NULL"
    )
    job = claim(database, under_way)
    _changed(database, made["id"], enabled=False)
    assert statuses(database) == ["exhausted", "pending", "exhausted"]
    assert finish(database, job, 500)
    assert statuses(database) == ["exhausted"] * 3
    assert deliveries(database)[1]["last_error"] == "it failed"
    shown = _changed(database, made["id"], enabled=True)
    assert (shown["enabled"], shown["disabled_reason"], shown["failing_since"]) == (True, None, None)


@pytest.mark.parametrize(
    ("how", "reason"), [("off", "the endpoint is disabled"), ("deleted", "the endpoint was deleted")]
)
def test_what_a_worker_had_begun_that_was_killed_then_goes_nowhere(database: Database, how: str, reason: str) -> None:
    """Its lease still ran when the endpoint was switched off: who comes next sends nothing, and ends it."""
    endpoint = an_endpoint(database)
    post(database)
    (begun,) = deliveries(database)
    claim(database, begun)
    if how == "off":
        change_endpoint(database, ADMIN, endpoint["id"], EndpointChange(enabled=False))
    else:
        delete_endpoint(database, ADMIN, endpoint["id"])
    change(database, "UPDATE webhook_deliveries SET leased_until = now() - interval '1 s'")
    assert claim_delivery(database, begun["id"]) is None
    (ended,) = deliveries(database)
    assert (ended["status"], ended["last_error"], ended["lease_token"]) == ("exhausted", reason, None)


def test_a_new_url_is_for_what_waits_too(database: Database) -> None:
    """But what was sent tells where it was sent."""
    made = an_endpoint(database)
    post(database)
    finish(database, claim(database, deliveries(database)[0]))
    post(database)
    _changed(database, made["id"], url=ELSEWHERE)
    assert [row["url"] for row in deliveries(database)] == [CALLBACK, ELSEWHERE]


def test_deleted(database: Database) -> None:
    """Its deliveries stay readable and are ended for good, the one under way with its own end."""
    made = an_endpoint(database)
    post(database)
    post(database)
    waiting, under_way = deliveries(database)
    job = claim(database, under_way)
    delete_endpoint(database, ADMIN, made["id"])
    with pytest.raises(NotFound):
        get_endpoint(database, ADMIN, made["id"])
    assert finish(database, job, 500)
    assert statuses(database) == ["exhausted"] * 2
    shown = get_delivery(database, ADMIN, f"dlv_{waiting['id'].hex}")
    assert (shown["endpoint_id"], shown["last_error"]) == (None, "the endpoint was deleted")
    with pytest.raises(EndpointDisabled):
        redeliver(database, ADMIN, f"dlv_{waiting['id'].hex}")
    assert one(database, "SELECT count(*) FROM webhook_secrets") == 0


def test_deleted_while_results_come_in(database: Database) -> None:
    """No deadlock, and nothing is left waiting."""
    for _ in range(4):
        made = an_endpoint(database)
        for _ in range(6):
            post(database)
        jobs = [claim(database, row) for row in deliveries(database) if row["status"] == "pending"]
        results = [lambda job=job: finish(database, job, 500) for job in jobs]
        found = at_once([*results[:3], lambda: delete_endpoint(database, ADMIN, made["id"]), *results[3:]])  # noqa: B023
        assert not [answer for answer in found if isinstance(answer, Exception)]
        left = [row for row in deliveries(database) if row["status"] == "pending"]
        assert not [row for row in left if row["endpoint_id"] is None]
        assert left == []


def test_redeliver(database: Database, publisher: Recorded) -> None:
    """The same webhook-id, the whole schedule again, the attempts counted on, to where the endpoint is now."""
    made = an_endpoint(database)
    post(database)
    (row,) = deliveries(database)
    finish(database, claim(database, row), 500, schedule=())
    _changed(database, made["id"], url=ELSEWHERE)
    publisher.wakeups.clear()
    shown = redeliver(database, OPERATOR, f"dlv_{row['id'].hex}")
    assert (shown["status"], shown["attempts"], shown["completed_at"]) == ("pending", 1, None)
    assert publisher.wakeups == [WakeUp("webhook", row["id"])]
    job = claim(database, row)
    assert (job.message_id, job.url) == (row["message_id"], ELSEWHERE)
    finish(database, job)
    again = redeliver(database, OPERATOR, f"dlv_{row['id'].hex}")
    assert (again["status"], again["attempts"]) == ("pending", 2)


def test_redeliver_does_not_disturb_what_is_under_way(database: Database, publisher: Recorded) -> None:
    """The attempt's own result counts, and its place in the schedule; nothing else is sent to it."""
    an_endpoint(database)
    post(database)
    (row,) = deliveries(database)
    finish(database, claim(database, row), 500)
    due_now(database)
    job = claim(database, row)
    publisher.wakeups.clear()
    redeliver(database, OPERATOR, f"dlv_{row['id'].hex}")
    assert publisher.wakeups == []
    assert deliveries(database)[0]["retry"] == 1
    assert finish(database, job)
    assert statuses(database) == ["delivered"]


def test_a_callback_can_be_sent_again(database: Database) -> None:
    """It belongs to no endpoint that could be disabled."""
    decide_pause(database, REVIEWER, post(database, callback_url=CALLBACK), approve())
    (row,) = deliveries(database)
    finish(database, claim(database, row), 410)
    assert redeliver(database, OPERATOR, f"dlv_{row['id'].hex}")["status"] == "pending"
    assert claim(database, row).url == CALLBACK


def test_deliveries_are_seen_by_namespace(database: Database) -> None:
    """Elsewhere they are not there: neither in lists, nor by id, nor to be sent again."""
    an_endpoint(database, namespaces=("*",))
    watch_id = post(database)
    post(database, someone(Role.AGENT, "other"), namespace="other")
    stranger = someone(Role.OPERATOR, "third")
    mine = list_deliveries(database, OPERATOR, DeliveryFilter(), Page()).items
    assert [(item["namespace"], item["watch_id"]) for item in mine] == [("default", watch_id)]
    assert len(list_deliveries(database, ADMIN, DeliveryFilter(), Page()).items) == 2
    assert list_deliveries(database, stranger, DeliveryFilter(), Page()).items == []
    for wanted in (mine[0]["id"], "dlv_" + "0" * 32, "nonsense"):
        for call in (get_delivery, redeliver):
            with pytest.raises(NotFound):
                call(database, stranger, wanted)


def test_delivery_filters_and_pages(database: Database) -> None:
    """Each filter alone; newest first."""
    made = an_endpoint(database, event_types=("pause.created",))
    first = post(database, callback_url=CALLBACK)
    decide_pause(database, REVIEWER, first, approve())
    second = post(database)
    finish(database, claim(database, deliveries(database)[0]))

    def found(page: Page | None = None, **wanted: Any) -> list[tuple[str, str]]:
        items = list_deliveries(database, OPERATOR, DeliveryFilter(**wanted), page or Page()).items
        return [(item["type"], item["watch_id"]) for item in items]

    everything = [("pause.created", second), ("pause.approved", first), ("pause.created", first)]
    assert found() == everything
    assert found(status="delivered") == [("pause.created", first)]
    assert found(endpoint_id=made["id"]) == [everything[0], everything[2]]
    assert found(watch_id=first) == everything[1:]
    assert found(namespace="default") == everything
    assert found(namespace="other") == []
    page = list_deliveries(database, OPERATOR, DeliveryFilter(), Page(2))
    assert found(Page(2, after=page.next_after)) == everything[2:]
    assert found(Page(2, offset=1)) == everything[1:]


def test_an_operator_reads_endpoints_without_what_opens_the_receiver(database: Database) -> None:
    """An operator sees endpoints of their namespaces; an admin also reads the values of headers."""
    made = an_endpoint(database, headers={"Authorization": "Basic c2VjcmV0"}, namespaces=("default",))
    for other in (("*",), ("default", "other")):
        an_endpoint(database, namespaces=other)
    expected = {name: value for name, value in made.items() if name != "secret"}
    assert get_endpoint(database, ADMIN, made["id"]) == expected
    expected |= {"headers": {"Authorization": "***"}}
    assert get_endpoint(database, OPERATOR, made["id"]) == expected
    assert list_endpoints(database, OPERATOR, Page()).items == [expected]
    assert list_endpoints(database, someone(Role.OPERATOR, "other"), Page()).items == []
