"""Receivers that take nothing: said after the third failure in a row, of each endpoint and each callback's origin."""

from datetime import timedelta
from typing import Any

import pytest

from domain.identity.access import Role
from services.kernel.unit_of_work import Database
from services.operations.health import backlog
from services.webhooks.endpoints import EndpointChange, change_endpoint, delete_endpoint
from services.webhooks.failing_receivers import list_failing
from tests.services.by_watch_id import decide_pause
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
    prune,
    someone,
)

LONG = (300,) * 50


def told(database: Database, number: int = 1, namespace: str = "default", **draft: Any) -> None:
    """So many decisions, of which a receiver is to hear."""
    agent, reviewer = someone(Role.AGENT, namespace), someone(Role.REVIEWER, namespace)
    for _ in range(number):
        decide_pause(database, reviewer, post(database, agent, namespace=namespace, **draft), approve(reviewer))


def answer(database: Database, *statuses: int) -> None:
    """To one delivery after the other, of those that wait."""
    waiting = [each for each in deliveries(database) if each["status"] == "pending"]
    due_now(database)
    for status, delivery in zip(statuses, waiting, strict=False):
        assert finish(database, claim(database, delivery), status, schedule=LONG)


def count(database: Database) -> int:
    return backlog(database).failing_receivers


@pytest.mark.parametrize("to", ["an endpoint", "a callback"])
def test_the_third_failure_in_a_row_is_reported(database: Database, to: str) -> None:
    if to == "an endpoint":
        an_endpoint(database, url="http://127.0.0.1:9/hook?key=1", event_types=("pause.approved",))
        told(database, 4)
    else:
        told(database, 4, callback_url=f"{CALLBACK}/one")
    answer(database, 503, 503)
    assert (count(database), list_failing(database, OPERATOR)) == (0, [])
    answer(database, 503)
    assert count(database) == 1
    (found,) = list_failing(database, OPERATOR)
    assert found["url"] == ("http://127.0.0.1:9/hook?key=1" if to == "an endpoint" else "http://127.0.0.1:9")
    assert (found["namespaces"], found["failures"], found["error"]) == (["default"], 3, "it failed")
    answer(database, 503)
    (later,) = list_failing(database, OPERATOR)
    assert (later["failures"], later["since"]) == (4, found["since"])
    answer(database, 200)
    assert (count(database), list_failing(database, OPERATOR)) == (0, [])


def test_one_delivery_that_fails_three_times_is_enough(database: Database) -> None:
    told(database, callback_url=CALLBACK)
    for expected in (0, 0, 1):
        answer(database, 503)
        assert count(database) == expected


def test_a_success_in_between_begins_anew(database: Database) -> None:
    told(database, 5, callback_url=CALLBACK)
    for status in (503, 503, 200, 503, 503):
        answer(database, status)
    assert count(database) == 0


def test_failures_at_the_same_moment_all_count(database: Database) -> None:
    told(database, 6, callback_url=CALLBACK)
    jobs = [claim(database, delivery) for delivery in deliveries(database)]
    assert at_once([lambda job=job: finish(database, job, 503) for job in jobs]) == [True] * 6
    (found,) = list_failing(database, OPERATOR)
    assert found["failures"] == 6


def test_origins_apart(database: Database) -> None:
    """Each of them has failed, none three times."""
    for port in range(4):
        told(database, callback_url=f"http://127.0.0.1:{port + 1}/hook")
    answer(database, 503, 503, 503, 503)
    assert count(database) == 0


def test_an_endpoint_of_several_namespaces_is_one_receiver(database: Database) -> None:
    """A caller who sees one of the namespaces sees the receiver. A success for one counts for all."""
    an_endpoint(database, namespaces=("default", "other"), event_types=("pause.approved",))
    told(database, 2)
    told(database, 2, namespace="other")
    told(database, 3, namespace="third", callback_url=CALLBACK)
    answer(database, 503, 503, 503, 503, 503, 503, 503)
    assert [(each["failures"], each["namespaces"]) for each in list_failing(database, ADMIN)] == [
        (4, ["default", "other"]),
        (3, ["third"]),
    ]
    assert [each["namespaces"] for each in list_failing(database, OPERATOR)] == [["default"]]
    seen = {
        name: backlog(database, someone(Role.OPERATOR, name)).failing_receivers for name in ("other", "third", "else")
    }
    assert seen == {"other": 1, "third": 1, "else": 0}
    answer(database, 200)
    assert [each["namespaces"] for each in list_failing(database, ADMIN)] == [["third"]]


@pytest.mark.parametrize("ended", ["disabled", "deleted", "enabled", "gone"])
def test_one_that_is_sent_nothing_is_not_among_them(database: Database, ended: str) -> None:
    """The count of an endpoint that an admin enables starts at zero."""
    made = an_endpoint(database, event_types=("pause.approved",))
    told(database, 4)
    answer(database, 503, 503, 503)
    assert count(database) == 1
    if ended == "gone":
        answer(database, 410)
    elif ended == "deleted":
        delete_endpoint(database, ADMIN, made["id"])
    else:
        change_endpoint(database, ADMIN, made["id"], EndpointChange(enabled=ended == "enabled"))
    assert (count(database), list_failing(database, ADMIN)) == (0, [])


def test_one_that_nothing_is_sent_to_any_more_is_forgotten(database: Database) -> None:
    told(database, 3, callback_url=CALLBACK)
    answer(database, 503, 503, 503)
    assert prune(database, timedelta(days=90))["webhook_failures"] == 0
    change(database, "UPDATE webhook_failures SET failed_at = now() - interval '25 h'")
    assert prune(database, timedelta(days=90))["webhook_failures"] == 1
    assert count(database) == 0
