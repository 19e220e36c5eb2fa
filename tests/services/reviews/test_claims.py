"""Claims, and many decisions at once."""

from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest

from domain.identity.access import Principal, Role
from domain.pauses.pause import Approve
from domain.values.errors import AlreadyResolved, Claimed, DecisionUnknown, NotFound, RevisionChanged, SelfDecision
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.unit_of_work import Database
from services.reviews import decisions
from services.reviews.decisions import decide_many
from tests.conftest import Recorded
from tests.services.by_watch_id import claim, decide_pause, decision_on, get_pause, lock_pause, unclaim
from tests.services.world import (
    AGENT,
    REVIEWER,
    approve,
    at_once,
    change,
    linked,
    one,
    post,
    reject,
    rows,
    someone,
    uuid_of,
)

ANNE, BEN = someone(Role.REVIEWER, id_="usr_anne"), someone(Role.REVIEWER, id_="usr_ben")


def claims(database: Database) -> list[str]:
    query = "SELECT entry ->> 'type' AS type FROM audit_events WHERE entry ->> 'type' LIKE 'review.%' ORDER BY seq"
    return [row["type"] for row in rows(linked(database), query)]


def test_a_claim_keeps_others_from_working_on_it(database: Database, publisher: Recorded) -> None:
    """A claim can be released, or taken over explicitly; no webhook is sent."""
    watch_id = post(database)
    claimed = claim(database, ANNE, watch_id)["claim"]
    assert (claimed["by"], claimed["byName"]) == (ANNE.id, ANNE.name)
    assert publisher.wakes == [uuid_of(watch_id)]
    with pytest.raises(Claimed) as caught:
        claim(database, BEN, watch_id)
    assert ANNE.name in caught.value.detail
    assert unclaim(database, BEN, watch_id)["claim"]["by"] == ANNE.id
    assert claim(database, BEN, watch_id, take_over=True)["claim"]["by"] == BEN.id
    assert unclaim(database, BEN, watch_id)["claim"] is None
    assert unclaim(database, BEN, watch_id)["claim"] is None
    assert claims(database) == ["review.claimed", "review.claimed", "review.released"]


def test_a_claim_ends_by_itself(database: Database) -> None:
    """A claim expires, so an absent person does not keep the others waiting."""
    watch_id = post(database)
    claim(database, ANNE, watch_id)
    old = "jsonb_set(claim::jsonb, '{at}', to_jsonb((now() - interval '15 min')::text))::json"
    change(database, f"UPDATE pauses SET claim = {old}")
    assert claim(database, BEN, watch_id)["claim"]["by"] == BEN.id


def test_a_claim_is_no_lock(database: Database) -> None:
    """A claim does not keep others from deciding. A decided review can be neither claimed nor released."""
    watch_id = post(database)
    claim(database, ANNE, watch_id)
    assert decide_pause(database, BEN, watch_id, approve(BEN))["claim"] is None
    for use_case in (claim, unclaim):
        with pytest.raises(AlreadyResolved):
            use_case(database, ANNE, watch_id)
    with pytest.raises(NotFound):
        claim(database, someone(Role.REVIEWER, "elsewhere"), post(database))


def test_ten_claim_at_once(database: Database) -> None:
    """One of them works on it."""
    watch_id = post(database)
    people = [someone(Role.REVIEWER, id_=f"usr_{number}") for number in range(10)]
    answers = at_once([lambda by=by: claim(database, by, watch_id) for by in people])
    assert Counter(type(answer) for answer in answers) == {dict: 1, Claimed: 9}
    assert claims(database) == ["review.claimed"]


def test_many_decisions_each_by_itself(database: Database) -> None:
    """In their order; one that fails undoes no other."""
    first, edited, resolved, last = (post(database, arguments={"n": 1}) for _ in range(4))
    own = post(database, by=someone(Role.ADMIN, id_=REVIEWER.id))
    decide_pause(database, ANNE, resolved, reject(ANNE))
    outcomes = decide_many(
        database,
        REVIEWER,
        [
            decision_on(first, approve()),
            decision_on("wch_" + "0" * 32, approve()),
            decision_on(edited, approve(revision=7)),
            decision_on(resolved, approve()),
            decision_on(own, approve()),
            decision_on(last, reject(comment="no")),
            decision_on(first, approve()),
        ],
    )
    kinds = [outcome["status"] if isinstance(outcome, dict) else type(outcome) for outcome in outcomes]
    assert kinds == ["approved", NotFound, RevisionChanged, AlreadyResolved, SelfDecision, "rejected", "approved"]
    assert get_pause(database, REVIEWER, last).status == "rejected"
    assert one(database, "SELECT count(*) FROM pauses WHERE status = 'pending'") == 2


def test_one_of_many_that_somebody_else_holds(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are decided all the same, and of that one it is said that it is not known."""
    ids = [post(database) for _ in range(3)]
    monkeypatch.setattr("services.kernel.connection_pool.LOCK_TIMEOUT_MS", 50)
    impatient = replace(
        database, engine=open_engine(database.engine.url.render_as_string(hide_password=False), 2, "test")
    )
    with database.transaction() as uow:
        lock_pause(uow, REVIEWER, ids[1])
        outcomes = decide_many(impatient, REVIEWER, [decision_on(id_, approve()) for id_ in ids])
    impatient.engine.dispose()
    assert [outcome["status"] for outcome in outcomes if isinstance(outcome, dict)] == ["approved"] * 2
    assert isinstance(outcomes[1], DecisionUnknown)
    assert get_pause(database, REVIEWER, ids[1]).status == "pending"


def test_many_while_the_database_goes_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decisions made are reported, and the others are not tried without end. Without any, there is no report."""
    ids = [post(database) for _ in range(6)]
    tried: list[UUID] = []
    original = decisions.decide_pause

    def decide(database: Database, by: Principal, id_: UUID, command: Approve) -> dict[str, object]:
        tried.append(id_)
        if id_ not in map(uuid_of, ids[:2]):
            raise DatabaseUnavailable("gone")
        return original(database, by, id_, command)

    monkeypatch.setattr("services.reviews.decisions.decide_pause", decide)
    outcomes = decide_many(database, REVIEWER, [decision_on(id_, approve()) for id_ in ids])
    assert [isinstance(outcome, DecisionUnknown) for outcome in outcomes] == [False, False, True, True, True, True]
    assert tried == [uuid_of(id_) for id_ in ids[:4]]
    with pytest.raises(DatabaseUnavailable):
        decide_many(database, REVIEWER, [decision_on(id_, approve()) for id_ in ids[2:]])


def test_the_same_many_from_two_people_at_once(database: Database) -> None:
    """Even in opposite orders, no request waits for the other's locks."""
    held = [post(database) for _ in range(10)]
    answers = at_once(
        [
            lambda: decide_many(database, ANNE, [decision_on(each, approve(ANNE)) for each in held]),
            lambda: decide_many(database, BEN, [decision_on(each, approve(BEN)) for each in reversed(held)]),
        ]
    )
    assert all(outcome["status"] == "approved" for answer in answers for outcome in answer)  # type: ignore[union-attr]
    assert get_pause(database, AGENT, held[0]).status == "approved"
