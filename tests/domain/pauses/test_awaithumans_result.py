"""The form of awaithumans' tasks, and the results that decisions make of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.pauses.callbacks.awaithumans import decision_field, form_schema, result
from domain.pauses.pause import SYSTEM, Actor, Decision, Pause, Status
from tests.domain.pauses.test_pause import BEN, T0, resolved

BOOLEAN, TEXT = {"type": "boolean"}, {"type": "string"}
OPTIONAL: dict[str, Any] = {"anyOf": [TEXT, {"type": "null"}], "default": None}


def form(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        (form("approved", approved=BOOLEAN, urgent=BOOLEAN), "approved"),
        (form(ok={"anyOf": [BOOLEAN, {"type": "null"}]}), "ok"),
        (form("approved", "ok", approved=BOOLEAN, ok=BOOLEAN), None),
        # False in such a field is no rejection.
        (form("blocked", blocked=BOOLEAN), None),
        (form("approved", approved=TEXT), None),
        (form("approved", approved={"anyOf": [BOOLEAN, TEXT]}), None),
        ({"type": "array"}, None),
        ({"properties": 3}, None),
        (form(approved={"anyOf": [BOOLEAN, {"type": ["null"]}]}), None),
        (form(approved={"anyOf": [BOOLEAN, 7]}), None),
    ],
)
def test_only_a_field_that_names_a_yes_is_decided_by_the_buttons(schema: dict[str, Any], field: str | None) -> None:
    assert decision_field(schema) == field


def test_the_form_has_the_other_fields() -> None:
    assert form_schema(form("approved", approved=BOOLEAN)) is None
    left = form_schema(form("approved", approved=BOOLEAN, note=OPTIONAL))
    assert left == {"type": ["object", "null"], "properties": {"note": OPTIONAL}, "required": []}
    left = form_schema(form("approved", "note", approved=BOOLEAN, note=TEXT))
    assert left == form("note", note=TEXT)
    whole = form("blocked", blocked=BOOLEAN)
    assert form_schema(whole) is whole


def task(status: Status, schema: Any, response: Any = None, comment: str | None = None, by: Actor = BEN) -> Pause:
    decision = Decision(status, by, T0 + timedelta(minutes=1), comment, response)
    return replace(resolved(status, metadata={"submission": {"response_schema": schema}}), decision=decision)


SIMPLE = form("approved", approved=BOOLEAN, note=OPTIONAL)
NEEDS_NOTE = form("approved", "note", approved=BOOLEAN, note=TEXT)
ONLY_YES = form("approved", approved={"type": "boolean", "const": True})
SYSTEM_ACTOR = Actor(SYSTEM, SYSTEM)
RESULTS: list[tuple[Pause, bool, str, Any]] = [
    (task(Status.APPROVED, SIMPLE), True, "completed", {"approved": True}),
    (task(Status.APPROVED, SIMPLE, comment="fine"), True, "completed", {"approved": True, "note": "fine"}),
    (task(Status.APPROVED, SIMPLE, {"note": "a"}, "b"), True, "completed", {"approved": True, "note": "a"}),
    (task(Status.APPROVED, SIMPLE), False, "timed_out", None),
    (task(Status.APPROVED, NEEDS_NOTE, by=SYSTEM_ACTOR), True, "cancelled", None),
    (task(Status.REJECTED, SIMPLE), False, "completed", {"approved": False, "note": "Rejected without a comment."}),
    # The button counts, whatever the form says.
    (task(Status.REJECTED, SIMPLE, {"approved": True}, "no"), False, "completed", {"approved": False, "note": "no"}),
    (task(Status.REJECTED, NEEDS_NOTE, comment="no"), False, "completed", {"approved": False, "note": "no"}),
    (task(Status.REJECTED, ONLY_YES), False, "cancelled", None),
    (task(Status.REJECTED, form("blocked", blocked=BOOLEAN), {"blocked": False}), False, "cancelled", None),
    (task(Status.REJECTED, SIMPLE, by=SYSTEM_ACTOR), False, "timed_out", None),
    (task(Status.REJECTED, None), False, "cancelled", None),
    (task(Status.EXPIRED, SIMPLE, by=SYSTEM_ACTOR), False, "timed_out", None),
    (task(Status.CANCELLED, SIMPLE), False, "cancelled", None),
    (replace(task(Status.CANCELLED, SIMPLE), status=Status.PENDING, decision=None), False, "created", None),
]


@pytest.mark.parametrize(("pause", "valid", "status", "response"), RESULTS)
def test_each_end_has_a_result(pause: Pause, valid: bool, status: str, response: Any) -> None:
    found = result(pause, valid)
    assert (found.status, found.response) == (status, response)
    assert (found.completed_at is not None) == (status == "completed")
    assert (found.timed_out_at is not None) == (status == "timed_out")
