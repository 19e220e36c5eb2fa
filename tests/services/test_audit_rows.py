"""Pauses that were changed in the database, past the service: the log knows what they were."""

import pytest

from domain.access import Role
from domain.errors import Forbidden
from domain.pause import Actor, Cancel, Reject
from services.audit import verify
from services.audit_rows import verify_rows
from services.pauses import decide_pause, expire_due
from services.transaction import Store
from tests.services.test_audit import tamper
from tests.services.world import ADMIN, AGENT, REVIEWER, approve, expire, one, post, someone

ALL = someone(Role.OPERATOR, "*")


def decided(store: Store) -> str:
    """One of each kind; the id of one that was approved."""
    approved = post(store, arguments={"amount": 5})
    decide_pause(store, REVIEWER, approved, approve(comment="fine"))
    decide_pause(store, REVIEWER, post(store), Reject(Actor(REVIEWER.id, REVIEWER.name), "no"))
    decide_pause(store, AGENT, post(store), Cancel(Actor(AGENT.id, AGENT.name), None))
    expire(store, post(store))
    assert expire_due(store) == 1
    post(store)
    return approved


def test_what_the_service_decided_fits(store: Store) -> None:
    decided(store)
    found = verify_rows(store, ALL)
    assert (found.checked, found.first_bad) == (4, None)
    assert verify_rows(store, someone(Role.OPERATOR, "elsewhere")).checked == 0
    with pytest.raises(Forbidden):
        verify_rows(store, someone(Role.OPERATOR, "elsewhere"), "default")


@pytest.mark.parametrize(
    ("assignment", "field"),
    [
        ("status = 'rejected'", "status"),
        ("decided_by = 'key_other'", "decided_by"),
        ("decided_by_name = 'Somebody Else'", "decided_by_name"),
        ("comment = 'never'", "comment"),
        ("comment = NULL", "comment"),
        ("revision = 7", "revision"),
        ("arguments = '{\"amount\": 5000}'", "arguments"),
        ("arguments = NULL, arguments_digest = NULL", "arguments_digest"),
    ],
)
def test_a_decision_that_was_changed_is_named(store: Store, database_url: str, assignment: str, field: str) -> None:
    watch_id = decided(store)
    tamper(database_url, f"UPDATE pauses SET {assignment} WHERE comment = 'fine'")
    assert verify(store, ALL)["ok"], "the log itself is whole"
    bad = verify_rows(store, ALL).first_bad
    assert bad is not None
    assert (bad["id"], bad["field"]) == (watch_id, field)
    assert bad["logged"] != bad["found"]


def test_a_decision_that_nobody_made_is_named(store: Store, database_url: str) -> None:
    watch_id = post(store)
    forged = "status = 'approved', resolved_at = now(), decided_by = 'x', decided_by_name = 'x'"
    tamper(database_url, f"UPDATE pauses SET {forged}")
    bad = verify_rows(store, ADMIN).first_bad
    assert bad == {
        "namespace": "default",
        "id": watch_id,
        "field": "status",
        "logged": "pending",
        "found": "approved",
        "seq": None,
    }
    assert one(store, "SELECT count(*) FROM audit_events") == 1
