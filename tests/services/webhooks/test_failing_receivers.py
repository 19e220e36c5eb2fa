"""Receivers that take nothing: said after the third failure in a row, of each endpoint and each callback's origin."""

from datetime import timedelta
from typing import Any

import pytest

from domain.identity.access import Role
from services.kernel.unit_of_work import Store
from services.operations.health import backlog
from services.operations.retention import prune
from services.reviews.decisions import decide_pause
from services.webhooks.endpoints import EndpointChange, change_endpoint, delete_endpoint
from services.webhooks.failing_receivers import list_failing
from tests.services.world import (
    ADMIN,
    CALLBACK,
    OPERATOR,
    an_endpoint,
    approve,
    at_once,
    change,
    claim,
    deliveries,
    due_now,
    finish,
    post,
    someone,
)

LONG = (300,) * 50


def told(store: Store, number: int = 1, namespace: str = "default", **draft: Any) -> None:
    """So many decisions, of which a receiver is to hear."""
    agent, reviewer = someone(Role.AGENT, namespace), someone(Role.REVIEWER, namespace)
    for _ in range(number):
        decide_pause(store, reviewer, post(store, agent, namespace=namespace, **draft), approve(reviewer))


def answer(store: Store, *statuses: int) -> None:
    """To one delivery after the other, of those that wait."""
    waiting = [each for each in deliveries(store) if each["status"] == "pending"]
    due_now(store)
    for status, delivery in zip(statuses, waiting, strict=False):
        assert finish(store, claim(store, delivery), status, schedule=LONG)


def count(store: Store) -> int:
    return backlog(store).failing_receivers


@pytest.mark.parametrize("to", ["an endpoint", "a callback"])
def test_the_third_failure_in_a_row_is_told(store: Store, to: str) -> None:
    if to == "an endpoint":
        an_endpoint(store, url="http://127.0.0.1:9/hook?key=1", event_types=("pause.approved",))
        told(store, 4)
    else:
        told(store, 4, callback_url=f"{CALLBACK}/one")
    answer(store, 503, 503)
    assert (count(store), list_failing(store, OPERATOR)) == (0, [])
    answer(store, 503)
    assert count(store) == 1
    (found,) = list_failing(store, OPERATOR)
    assert found["url"] == ("http://127.0.0.1:9/hook?key=1" if to == "an endpoint" else "http://127.0.0.1:9")
    assert (found["namespaces"], found["failures"], found["error"]) == (["default"], 3, "it failed")
    answer(store, 503)
    (later,) = list_failing(store, OPERATOR)
    assert (later["failures"], later["since"]) == (4, found["since"])
    answer(store, 200)
    assert (count(store), list_failing(store, OPERATOR)) == (0, [])


def test_one_delivery_that_fails_three_times_is_enough(store: Store) -> None:
    told(store, callback_url=CALLBACK)
    for expected in (0, 0, 1):
        answer(store, 503)
        assert count(store) == expected


def test_a_success_in_between_begins_anew(store: Store) -> None:
    told(store, 5, callback_url=CALLBACK)
    for status in (503, 503, 200, 503, 503):
        answer(store, status)
    assert count(store) == 0


def test_failures_at_the_same_moment_all_count(store: Store) -> None:
    told(store, 6, callback_url=CALLBACK)
    parcels = [claim(store, delivery) for delivery in deliveries(store)]
    assert at_once([lambda parcel=parcel: finish(store, parcel, 503) for parcel in parcels]) == [True] * 6
    (found,) = list_failing(store, OPERATOR)
    assert found["failures"] == 6


def test_origins_apart(store: Store) -> None:
    """Each of them has failed, none three times."""
    for port in range(4):
        told(store, callback_url=f"http://127.0.0.1:{port + 1}/hook")
    answer(store, 503, 503, 503, 503)
    assert count(store) == 0


def test_an_endpoint_of_several_namespaces_is_one_receiver(store: Store) -> None:
    """Whoever sees one of them hears of it, and of that one; a success for one is one for all."""
    an_endpoint(store, namespaces=("default", "other"), event_types=("pause.approved",))
    told(store, 2)
    told(store, 2, namespace="other")
    told(store, 3, namespace="third", callback_url=CALLBACK)
    answer(store, 503, 503, 503, 503, 503, 503, 503)
    assert [(each["failures"], each["namespaces"]) for each in list_failing(store, ADMIN)] == [
        (4, ["default", "other"]),
        (3, ["third"]),
    ]
    assert [each["namespaces"] for each in list_failing(store, OPERATOR)] == [["default"]]
    seen = {name: backlog(store, someone(Role.OPERATOR, name)).failing_receivers for name in ("other", "third", "else")}
    assert seen == {"other": 1, "third": 1, "else": 0}
    answer(store, 200)
    assert [each["namespaces"] for each in list_failing(store, ADMIN)] == [["third"]]


@pytest.mark.parametrize("ended", ["disabled", "deleted", "enabled", "gone"])
def test_one_that_is_sent_nothing_is_not_among_them(store: Store, ended: str) -> None:
    """And one that an admin enables again begins anew."""
    made = an_endpoint(store, event_types=("pause.approved",))
    told(store, 4)
    answer(store, 503, 503, 503)
    assert count(store) == 1
    if ended == "gone":
        answer(store, 410)
    elif ended == "deleted":
        delete_endpoint(store, ADMIN, made["id"])
    else:
        change_endpoint(store, ADMIN, made["id"], EndpointChange(enabled=ended == "enabled"))
    assert (count(store), list_failing(store, ADMIN)) == (0, [])


def test_one_that_nothing_is_sent_to_any_more_is_forgotten(store: Store) -> None:
    told(store, 3, callback_url=CALLBACK)
    answer(store, 503, 503, 503)
    assert prune(store, timedelta(days=90))["webhook_failures"] == 0
    change(store, "UPDATE webhook_failures SET failed_at = now() - interval '25 h'")
    assert prune(store, timedelta(days=90))["webhook_failures"] == 1
    assert count(store) == 0
