"""Endpoints: who makes and changes them, and their deliveries when they fail, move, are switched off or go."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.identity.access import Role
from domain.values.errors import EndpointDisabled, Forbidden, Invalid, NotFound
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Hint, Store
from services.reviews.decisions import decide_pause
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
    once,
    one,
    post,
    someone,
)

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ELSEWHERE = "http://127.0.0.1:10/moved"


def statuses(store: Store) -> list[str]:
    return [delivery["status"] for delivery in deliveries(store)]


def test_made_and_read(store: Store) -> None:
    """The secret is shown at the making and never again."""
    made = an_endpoint(store, description="ops", event_types=("pause.created",), headers={"x-a": "b"})
    assert made["secret"].startswith("whsec_")
    shown = get_endpoint(store, ADMIN, made["id"])
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (shown["description"], shown["headers"], shown["enabled"]) == ("ops", {"x-a": "b"}, True)
    assert list_endpoints(store, ADMIN, Page()).items == [shown]


def test_a_repeated_request_makes_one_and_shows_no_secret(store: Store) -> None:
    """The stored answer holds none: it would lie readable in another table."""
    new = EndpointChange(url=CALLBACK, namespaces=("default",))
    made, _ = create_endpoint(store, ADMIN, new, once("key-0001"))
    again, replayed = create_endpoint(store, ADMIN, new, once("key-0001"))
    assert replayed
    assert again == made | {"secret": None}
    assert made["secret"] not in str(one(store, "SELECT answer::text FROM idempotency_keys"))
    assert len(list_endpoints(store, ADMIN, Page()).items) == 1


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"headers": {"host": "x"}}, "headers.host"),
    ],
)
def test_refused_at_the_making_and_at_a_change(store: Store, changes: dict[str, Any], path: str) -> None:
    made = an_endpoint(store)
    for call in (lambda: an_endpoint(store, **changes), lambda: _changed(store, made["id"], **changes)):
        with pytest.raises(Invalid) as caught:
            call()
        assert [fault.path for fault in caught.value.faults] == [path]


def _changed(store: Store, endpoint_id: str, **changes: Any) -> dict[str, Any]:
    return change_endpoint(store, ADMIN, endpoint_id, EndpointChange(**changes))


def test_an_admin_of_some_namespaces_manages_those_only(store: Store) -> None:
    """An endpoint that hears of more than the admin sees is not there for them, and they cannot make one."""
    narrow = someone(Role.ADMIN, "default")
    mine = an_endpoint(store, narrow)
    others = [an_endpoint(store, namespaces=names) for names in (("other",), ("default", "other"), ("*",))]
    assert [item["id"] for item in list_endpoints(store, narrow, Page()).items] == [mine["id"]]
    for made in [*(other["id"] for other in others), "ep_" + "0" * 32, "nonsense"]:
        for call in (get_endpoint, delete_endpoint, rotate_endpoint_secret, endpoints.test_endpoint):
            with pytest.raises(NotFound):
                call(store, narrow, made)
        with pytest.raises(NotFound):
            change_endpoint(store, narrow, made, EndpointChange(enabled=False))
        with pytest.raises(NotFound):
            recover(store, narrow, made, LONG_AGO)
    for namespaces in (("other",), ("default", "*")):
        with pytest.raises(Forbidden):
            an_endpoint(store, narrow, namespaces=namespaces)
        with pytest.raises(Forbidden):
            change_endpoint(store, narrow, mine["id"], EndpointChange(namespaces=namespaces))


def test_pages(store: Store) -> None:
    """Newest first, each once."""
    made = [an_endpoint(store)["id"] for _ in range(5)][::-1]
    first = list_endpoints(store, ADMIN, Page(3))
    rest = list_endpoints(store, ADMIN, Page(3, after=first.next_after))
    assert [item["id"] for item in [*first.items, *rest.items]] == made
    assert rest.next_after is None
    assert [item["id"] for item in list_endpoints(store, ADMIN, Page(2, 2)).items] == made[2:4]


def test_410_disables_and_ends_what_waits(store: Store, signals: Recorded) -> None:
    """The endpoint says why; what waits and what comes later is recorded, and not sent."""
    made = an_endpoint(store)
    post(store)
    post(store)
    finish(store, claim(store, deliveries(store)[0]), 410)
    post(store)
    assert statuses(store) == ["exhausted"] * 3
    shown = get_endpoint(store, ADMIN, made["id"])
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "the receiver answered 410 Gone")
    errors = [delivery["last_error"] for delivery in deliveries(store)]
    assert errors == [
        "it failed",
        "the endpoint was disabled: the receiver answered 410 Gone",
        "the endpoint is disabled",
    ]
    signals.hints.clear()
    with pytest.raises(EndpointDisabled):
        redeliver(store, OPERATOR, f"dlv_{deliveries(store)[0]['id'].hex}")
    for call in (endpoints.test_endpoint, lambda *args: recover(*args, LONG_AGO)):
        with pytest.raises(EndpointDisabled):
            call(store, ADMIN, made["id"])
    assert signals.hints == []


def test_failing_for_five_days_disables(store: Store) -> None:
    """One failure more than five days after the first one in a row."""
    made = an_endpoint(store)
    post(store)
    post(store)
    first, _ = deliveries(store)
    finish(store, claim(store, first), 500)
    assert get_endpoint(store, ADMIN, made["id"])["failing_since"] is not None
    change(store, "UPDATE webhook_endpoints SET failing_since = failing_since - interval '5 days 1 min'")
    due_now(store)
    finish(store, claim(store, first), 500)
    assert statuses(store) == ["exhausted"] * 2
    assert "every attempt failed since" in get_endpoint(store, ADMIN, made["id"])["disabled_reason"]


def test_a_success_in_between_forgets(store: Store) -> None:
    made = an_endpoint(store)
    post(store)
    post(store)
    first, second = deliveries(store)
    finish(store, claim(store, first), 500)
    change(store, "UPDATE webhook_endpoints SET failing_since = failing_since - interval '9 days'")
    finish(store, claim(store, second))
    assert get_endpoint(store, ADMIN, made["id"])["failing_since"] is None


def test_recover_brings_back_what_was_missed_in_order(store: Store, signals: Recorded) -> None:
    """Enabled again, everything since then goes out, the first about a pause first, to where the endpoint is now."""
    made = an_endpoint(store)
    decided = post(store)
    finish(store, claim(store, deliveries(store)[0]), 410)
    decide_pause(store, REVIEWER, decided, approve())
    _changed(store, made["id"], enabled=True, url=ELSEWHERE)
    signals.hints.clear()
    since = deliveries(store)[0]["created_at"]
    assert recover(store, OPERATOR, made["id"], since + timedelta(days=1)) == 0
    assert recover(store, OPERATOR, made["id"], since) == 2
    created, approved = deliveries(store)
    assert signals.hints == [Hint("webhook", created["id"]), Hint("webhook", approved["id"])]
    assert claim_delivery(store, approved["id"]) is None
    parcel = claim(store, created)
    assert parcel.url == ELSEWHERE
    finish(store, parcel)
    finish(store, claim(store, approved))
    assert [(row["status"], row["attempts"]) for row in deliveries(store)] == [("delivered", 2), ("delivered", 1)]
    assert recover(store, OPERATOR, made["id"], since) == 0


def test_recover_leaves_other_endpoints_alone(store: Store) -> None:
    made, other = an_endpoint(store), an_endpoint(store)
    post(store)
    for row in deliveries(store):
        finish(store, claim(store, row), 500, schedule=())
    assert recover(store, ADMIN, made["id"], LONG_AGO) == 1
    by_endpoint = {f"ep_{row['endpoint_id'].hex}": row["status"] for row in deliveries(store)}
    assert by_endpoint == {made["id"]: "pending", other["id"]: "exhausted"}


def test_what_was_made_for_another_namespace_goes_nowhere_else(store: Store) -> None:
    """An endpoint that served two serves one now: its admin neither moves nor recovers what is the other's."""
    made = an_endpoint(store, namespaces=("default", "other"))
    for agent in (AGENT, someone(Role.AGENT, "other")):
        post(store, agent, namespace=agent.own_namespace)
    _changed(store, made["id"], namespaces=("other",))
    narrow = someone(Role.ADMIN, "other")
    change_endpoint(store, narrow, made["id"], EndpointChange(url=ELSEWHERE))
    first, second = deliveries(store)
    assert (first["namespace"], first["url"], second["url"]) == ("default", CALLBACK, ELSEWHERE)
    for row in (first, second):
        finish(store, claim(store, row), 500, schedule=())
    assert recover(store, narrow, made["id"], LONG_AGO) == 1
    assert statuses(store) == ["exhausted", "pending"]


def test_switched_off_ends_what_waits_and_what_is_under_way_ends_itself(store: Store) -> None:
    """A killed worker's, whose lease ran out, waits too: nobody else would end it."""
    made = an_endpoint(store)
    for _ in range(3):
        post(store)
    killed, under_way, _ = deliveries(store)
    claim(store, killed)
    change(store, "UPDATE webhook_deliveries SET leased_until = now() - interval '1 s' WHERE lease_token IS NOT NULL")
    parcel = claim(store, under_way)
    _changed(store, made["id"], enabled=False)
    assert statuses(store) == ["exhausted", "pending", "exhausted"]
    assert finish(store, parcel, 500)
    assert statuses(store) == ["exhausted"] * 3
    assert deliveries(store)[1]["last_error"] == "it failed"
    shown = _changed(store, made["id"], enabled=True)
    assert (shown["enabled"], shown["disabled_reason"], shown["failing_since"]) == (True, None, None)


@pytest.mark.parametrize(
    ("how", "reason"), [("off", "the endpoint is disabled"), ("deleted", "the endpoint was deleted")]
)
def test_what_a_worker_had_begun_that_was_killed_then_goes_nowhere(store: Store, how: str, reason: str) -> None:
    """Its lease still ran when the endpoint was switched off: who comes next sends nothing, and ends it."""
    endpoint = an_endpoint(store)
    post(store)
    (begun,) = deliveries(store)
    claim(store, begun)
    if how == "off":
        change_endpoint(store, ADMIN, endpoint["id"], EndpointChange(enabled=False))
    else:
        delete_endpoint(store, ADMIN, endpoint["id"])
    change(store, "UPDATE webhook_deliveries SET leased_until = now() - interval '1 s'")
    assert claim_delivery(store, begun["id"]) is None
    (ended,) = deliveries(store)
    assert (ended["status"], ended["last_error"], ended["lease_token"]) == ("exhausted", reason, None)


def test_a_new_url_is_for_what_waits_too(store: Store) -> None:
    """But what was sent tells where it was sent."""
    made = an_endpoint(store)
    post(store)
    finish(store, claim(store, deliveries(store)[0]))
    post(store)
    _changed(store, made["id"], url=ELSEWHERE)
    assert [row["url"] for row in deliveries(store)] == [CALLBACK, ELSEWHERE]


def test_deleted(store: Store) -> None:
    """Its deliveries stay readable and are ended for good, the one under way with its own end."""
    made = an_endpoint(store)
    post(store)
    post(store)
    waiting, under_way = deliveries(store)
    parcel = claim(store, under_way)
    delete_endpoint(store, ADMIN, made["id"])
    with pytest.raises(NotFound):
        get_endpoint(store, ADMIN, made["id"])
    assert finish(store, parcel, 500)
    assert statuses(store) == ["exhausted"] * 2
    shown = get_delivery(store, ADMIN, f"dlv_{waiting['id'].hex}")
    assert (shown["endpoint_id"], shown["last_error"]) == (None, "the endpoint was deleted")
    with pytest.raises(EndpointDisabled):
        redeliver(store, ADMIN, f"dlv_{waiting['id'].hex}")
    assert one(store, "SELECT count(*) FROM webhook_secrets") == 0


def test_deleted_while_results_come_in(store: Store) -> None:
    """No deadlock, and nothing is left waiting."""
    for _ in range(4):
        made = an_endpoint(store)
        for _ in range(6):
            post(store)
        parcels = [claim(store, row) for row in deliveries(store) if row["status"] == "pending"]
        results = [lambda parcel=parcel: finish(store, parcel, 500) for parcel in parcels]
        found = at_once([*results[:3], lambda: delete_endpoint(store, ADMIN, made["id"]), *results[3:]])  # noqa: B023
        assert not [answer for answer in found if isinstance(answer, Exception)]
        left = [row for row in deliveries(store) if row["status"] == "pending"]
        assert not [row for row in left if row["endpoint_id"] is None]
        assert left == []


def test_redeliver(store: Store, signals: Recorded) -> None:
    """The same webhook-id, the whole schedule again, the attempts counted on, to where the endpoint is now."""
    made = an_endpoint(store)
    post(store)
    (row,) = deliveries(store)
    finish(store, claim(store, row), 500, schedule=())
    _changed(store, made["id"], url=ELSEWHERE)
    signals.hints.clear()
    shown = redeliver(store, OPERATOR, f"dlv_{row['id'].hex}")
    assert (shown["status"], shown["attempts"], shown["completed_at"]) == ("pending", 1, None)
    assert signals.hints == [Hint("webhook", row["id"])]
    parcel = claim(store, row)
    assert (parcel.message_id, parcel.url) == (row["message_id"], ELSEWHERE)
    finish(store, parcel)
    again = redeliver(store, OPERATOR, f"dlv_{row['id'].hex}")
    assert (again["status"], again["attempts"]) == ("pending", 2)


def test_redeliver_does_not_disturb_what_is_under_way(store: Store, signals: Recorded) -> None:
    """The attempt's own result counts, and its place in the schedule; nobody else is sent to it."""
    an_endpoint(store)
    post(store)
    (row,) = deliveries(store)
    finish(store, claim(store, row), 500)
    due_now(store)
    parcel = claim(store, row)
    signals.hints.clear()
    redeliver(store, OPERATOR, f"dlv_{row['id'].hex}")
    assert signals.hints == []
    assert deliveries(store)[0]["retry"] == 1
    assert finish(store, parcel)
    assert statuses(store) == ["delivered"]


def test_a_callback_can_be_sent_again(store: Store) -> None:
    """It belongs to no endpoint that could be disabled."""
    decide_pause(store, REVIEWER, post(store, callback_url=CALLBACK), approve())
    (row,) = deliveries(store)
    finish(store, claim(store, row), 410)
    assert redeliver(store, OPERATOR, f"dlv_{row['id'].hex}")["status"] == "pending"
    assert claim(store, row).url == CALLBACK


def test_deliveries_are_seen_by_namespace(store: Store) -> None:
    """Elsewhere they are not there: neither in lists, nor by id, nor to be sent again."""
    an_endpoint(store, namespaces=("*",))
    watch_id = post(store)
    post(store, someone(Role.AGENT, "other"), namespace="other")
    stranger = someone(Role.OPERATOR, "third")
    mine = list_deliveries(store, OPERATOR, DeliveryFilter(), Page()).items
    assert [(item["namespace"], item["watch_id"]) for item in mine] == [("default", watch_id)]
    assert len(list_deliveries(store, ADMIN, DeliveryFilter(), Page()).items) == 2
    assert list_deliveries(store, stranger, DeliveryFilter(), Page()).items == []
    for wanted in (mine[0]["id"], "dlv_" + "0" * 32, "nonsense"):
        for call in (get_delivery, redeliver):
            with pytest.raises(NotFound):
                call(store, stranger, wanted)


def test_delivery_filters_and_pages(store: Store) -> None:
    """Each filter alone; newest first."""
    made = an_endpoint(store, event_types=("pause.created",))
    first = post(store, callback_url=CALLBACK)
    decide_pause(store, REVIEWER, first, approve())
    second = post(store)
    finish(store, claim(store, deliveries(store)[0]))

    def found(page: Page | None = None, **wanted: Any) -> list[tuple[str, str]]:
        items = list_deliveries(store, OPERATOR, DeliveryFilter(**wanted), page or Page()).items
        return [(item["type"], item["watch_id"]) for item in items]

    everything = [("pause.created", second), ("pause.approved", first), ("pause.created", first)]
    assert found() == everything
    assert found(status="delivered") == [("pause.created", first)]
    assert found(endpoint_id=made["id"]) == [everything[0], everything[2]]
    assert found(watch_id=first) == everything[1:]
    assert found(namespace="default") == everything
    assert found(namespace="other") == []
    page = list_deliveries(store, OPERATOR, DeliveryFilter(), Page(2))
    assert found(Page(2, after=page.next_after)) == everything[2:]
    assert found(Page(2, offset=1)) == everything[1:]


def test_an_operator_reads_endpoints_without_what_opens_the_receiver(store: Store) -> None:
    """Of their namespaces only; an admin reads the values of headers too."""
    made = an_endpoint(store, headers={"Authorization": "Basic c2VjcmV0"}, namespaces=("default",))
    for other in (("*",), ("default", "other")):
        an_endpoint(store, namespaces=other)
    expected = {name: value for name, value in made.items() if name != "secret"}
    assert get_endpoint(store, ADMIN, made["id"]) == expected
    expected |= {"headers": {"Authorization": "***"}}
    assert get_endpoint(store, OPERATOR, made["id"]) == expected
    assert list_endpoints(store, OPERATOR, Page()).items == [expected]
    assert list_endpoints(store, someone(Role.OPERATOR, "other"), Page()).items == []
