"""Use cases of pauses on a real database: made, read, decided, and seen by whom."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.identity.access import Role
from domain.pauses.pause import OnTimeout, Pause, Status
from domain.values import ids
from domain.values.errors import AlreadyResolved, Forbidden, Invalid, NotFound, RevisionChanged, SelfDecision
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import actor, expire_due, resolved_among
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    REVIEWER,
    approve,
    cancel,
    change,
    create_pause,
    draft,
    expire,
    one,
    post,
    reject,
    rows,
    someone,
    uuid_of,
)


def test_what_was_posted_is_what_is_read(database: Database) -> None:
    """To the order of keys and the last digit, through the database and back."""
    wanted = draft(
        context={"z": 1, "a": [1.5, "é😀", None, {}], "big": 2**53 - 1},
        arguments={"n": 1},
        callback_url="http://127.0.0.1:9/x",
        on_timeout=OnTimeout.REJECT,
        response_schema={"type": "object"},
        priority=9,
        tags=("b", "a"),
        metadata={"run": "1"},
    )
    made, replayed = create_pause(database, AGENT, wanted, None)
    assert not replayed
    pause = get_pause(database, REVIEWER, made["watchId"])
    assert pause.context == wanted.context
    assert list(pause.context or ()) == ["z", "a", "big"]
    assert (pause.arguments, pause.callback_url, pause.on_timeout) == ({"n": 1}, wanted.callback_url, OnTimeout.REJECT)
    assert (pause.response_schema, pause.priority, pause.tags) == ({"type": "object"}, 9, ("b", "a"))
    assert (pause.metadata, pause.created_by, pause.status) == ({"run": "1"}, AGENT.id, Status.PENDING)
    assert pause.arguments_digest is not None
    assert pause.arguments_digest.hex() == made["argumentsDigest"]
    assert pause.expires_at == pause.created_at + timedelta(hours=1)


def test_times_are_the_databases(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is wrong makes no wrong pause: neither its times nor its place in lists."""
    first = post(database)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    monkeypatch.setattr("time.time", lambda: 0.0)
    second = post(database)
    assert second > first
    age = one(database, "SELECT max(clock_timestamp() - created_at) FROM pauses")
    assert timedelta() < age < timedelta(minutes=5)


def test_create_wakes_nobody_and_decide_wakes_the_waiter(database: Database, publisher: Recorded) -> None:
    """After the commit, with the pause's id."""
    watch_id = post(database)
    assert publisher.wakes == []
    decide_pause(database, REVIEWER, watch_id, approve())
    assert publisher.wakes == [uuid_of(watch_id)]
    decide_pause(database, REVIEWER, watch_id, approve())
    assert publisher.wakes == [uuid_of(watch_id)]


def test_watchers_of_the_inbox_hear_of_new_pauses(database: Database, publisher: Recorded) -> None:
    """Other changes reach them together with the callers that wait for that pause."""
    watch_id = post(database)
    assert publisher.inbox_wakes == 1
    decide_pause(database, REVIEWER, watch_id, approve())
    assert publisher.inbox_wakes == 1


def test_a_decision_is_stored_whole(database: Database) -> None:
    """Who, when, why, what instead, and the answer."""
    watch_id = post(database, arguments={"n": 1}, response_schema={"type": "object"})
    command = approve(comment="ok", arguments={"n": 2}, response={"x": [1]}, revision=1)
    answered = decide_pause(database, REVIEWER, watch_id, command)
    assert answered["decision"]["arguments"] == {"n": 2}
    pause = get_pause(database, REVIEWER, watch_id)
    assert (pause.arguments, pause.revision) == ({"n": 2}, 2)
    assert pause.decision is not None
    assert (pause.decision.by, pause.decision.comment) == (actor(REVIEWER), "ok")
    assert pause.decision.response == {"x": [1]}
    assert pause.decision.at > pause.created_at


def test_repeat_is_fine_contrary_is_a_conflict(database: Database) -> None:
    """And the conflict carries the stored outcome."""
    watch_id = post(database)
    first = decide_pause(database, REVIEWER, watch_id, approve(comment="mine"))
    other = someone(Role.REVIEWER, id_="key_other")
    assert decide_pause(database, other, watch_id, approve(other, comment="mine too")) == first
    for by, command in ((other, reject(other)), (AGENT, cancel())):
        with pytest.raises(AlreadyResolved) as caught:
            decide_pause(database, by, watch_id, command)
        assert caught.value.current == first


@pytest.mark.parametrize(
    ("command", "domain_error"),
    [
        (approve(arguments={"n": 2}), Invalid),
        (approve(response=1), Invalid),
        (reject(revision=7), RevisionChanged),
        (approve(AGENT), SelfDecision),
    ],
)
def test_a_refused_command_leaves_no_trace(
    database: Database, publisher: Recorded, command: object, domain_error: type[Exception]
) -> None:
    """The pause is still pending, and nothing is published."""
    watch_id = post(database)
    with pytest.raises(domain_error):
        decide_pause(database, ADMIN, watch_id, command)  # type: ignore[arg-type]
    assert get_pause(database, REVIEWER, watch_id).status is Status.PENDING
    assert publisher.wakes == []


def test_after_expires_at_a_decision_loses_without_any_sweep(database: Database, publisher: Recorded) -> None:
    """The late caller gets an error that says so. The expiry, which that caller noticed first, is stored."""
    watch_id = post(database)
    expire(database, watch_id)
    with pytest.raises(AlreadyResolved) as caught:
        decide_pause(database, REVIEWER, watch_id, approve())
    assert caught.value.current["status"] == "expired"
    pause = get_pause(database, REVIEWER, watch_id)
    assert pause.status is Status.EXPIRED
    assert pause.decision is not None
    assert pause.decision.by.id == "system"
    assert publisher.wakes == [uuid_of(watch_id)]


@pytest.mark.parametrize(
    "stranger",
    [
        someone(Role.AGENT, "other"),
        someone(Role.AGENT, "default", id_="key_other_agent"),
        someone(Role.AGENT, "*", id_="key_other_agent"),
        someone(Role.REVIEWER, "other"),
        someone(Role.OPERATOR, "other", "another"),
        someone(Role.ADMIN, "other"),
    ],
    ids=lambda by: f"{by.role}-{'-'.join(by.namespaces)}-{by.id}",
)
def test_what_one_may_not_see_is_not_there(database: Database, stranger: object) -> None:
    """Another namespace's, and for an agent another agent's: not found, as if the id were made up."""
    watch_id = post(database)
    unknown = f"wch_{uuid4().hex}"
    for wanted in (watch_id, unknown, "nonsense", ""):
        with pytest.raises(NotFound):
            get_pause(database, stranger, wanted)  # type: ignore[arg-type]
        for command in (approve(), reject(), cancel()):
            with pytest.raises(NotFound):
                decide_pause(database, stranger, wanted, command)  # type: ignore[arg-type]
    assert get_pause(database, REVIEWER, watch_id).status is Status.PENDING


def test_nobody_posts_into_a_namespace_that_they_do_not_see(database: Database) -> None:
    """Nothing is stored."""
    with pytest.raises(Forbidden):
        post(database, namespace="other")
    assert rows(database, "SELECT id FROM pauses") == []


def test_resolved_among(database: Database) -> None:
    """Return the pauses that no longer wait, or are gone, so that no long poll goes on for them."""
    waiting, decided, gone = uuid_of(post(database)), uuid_of(post(database)), uuid4()
    decide_pause(database, REVIEWER, f"wch_{decided.hex}", approve())
    assert resolved_among(database, [waiting, decided, gone]) == [decided, gone]
    assert resolved_among(database, []) == []


def test_an_aware_instant_is_kept_in_any_zone(database: Database) -> None:
    """And read back as the same instant."""
    at = datetime(2031, 5, 1, 12, tzinfo=UTC)
    watch_id = post(database, expires=at)
    assert get_pause(database, AGENT, watch_id).expires_at == at


def test_a_pause_without_deadline_is_kept_without(database: Database) -> None:
    """Null is null."""
    watch_id = post(database, expires=None)
    assert get_pause(database, AGENT, watch_id).expires_at is None
    assert change(database, "UPDATE pauses SET created_at = created_at - interval '9 years'") == 1
    assert decide_pause(database, REVIEWER, watch_id, approve())["status"] == "approved"


def test_watchers_of_decisions_hear_of_each(database: Database) -> None:
    """Once, after the commit, and of nothing that is only a vote or a repeated word."""
    ended: list[Pause] = []
    told = replace(database, held=ended.append)
    wanted = {post(told): status for status in ("approved", "rejected", "cancelled", "expired")}
    calls = {"approved": (REVIEWER, approve()), "rejected": (REVIEWER, reject()), "cancelled": (AGENT, cancel())}
    for watch_id, status in wanted.items():
        if status == "expired":
            expire(told, watch_id)
            assert expire_due(told) == 1
        else:
            decide_pause(told, calls[status][0], watch_id, calls[status][1])
    with pytest.raises(AlreadyResolved):
        decide_pause(told, REVIEWER, next(iter(wanted)), reject())
    assert [(ids.text(ids.WATCH, pause.id), str(pause.status)) for pause in ended] == list(wanted.items())
