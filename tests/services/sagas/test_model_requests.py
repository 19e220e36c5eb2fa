"""Reason steps on a real database: what a model answers is judged, held, asked for again, and merged; or it is not."""

from typing import Any
from uuid import UUID

import pytest

from domain.sagas.outcome import Done
from domain.sagas.step import Error
from domain.values import canonical_json
from domain.values.errors import Invalid
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import expire_due
from services.reviews.held_steps import ReviewFilter, pending_reviews
from services.reviews.step_decisions import RetriesUsedUp, decide_step, rerun_step
from services.sagas.queries import get_step
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.model_world import go_on, model, reason, result
from tests.services.saga_world import (
    EVENTS,
    approve_held,
    current_ref,
    error_of,
    pending_pauses,
    ref,
    start,
    statuses,
    step,
    step_of,
    watch_of,
)
from tests.services.world import (
    REVIEWER,
    an_endpoint,
    approve,
    change,
    deliveries,
    expire,
    let_time_approve,
    one,
    reject,
    rows,
)

SMALL = {"name": "small", "cel": "phase == 'after_reason' && output.n <= 10 && arguments.n == input.n"}
DENIED, BROKEN = {"name": "p", "cel": "output.n > 10"}, {"name": "p", "cel": "output.missing > 1"}


def told(database: Database) -> list[str]:
    return [delivery["type"] for delivery in deliveries(database)]


def rerun(database: Database, trace_id: UUID, guidance: str | None) -> None:
    rerun_step(database, REVIEWER, current_ref(database, trace_id), guidance, None)


@pytest.fixture
def held(database: Database) -> UUID:
    """The answer {"n": 1} of b is held; a was done, and can be undone."""
    more = {"hitl": True, "hitl_max_retries": 3, "hitl_retry_guidance": "be brief", "policy": SMALL}
    trace_id = start(database, step("a", undo=True), reason("b", **more), step("c", **{"with": later("b")}))
    go_on(database, trace_id, model(b=1))
    assert statuses(database, trace_id) == ("AWAITING_HUMAN", "COMPLETED", "AWAITING_HUMAN", "PENDING")
    return trace_id


def later(id_: str) -> dict[str, Any]:
    return {"data": {"from": f"$.steps.{id_}.output.data"}, "facts": {"from": f"$.steps.{id_}.facts"}}


def test_straight_through(database: Database) -> None:
    """Later steps see its answer and its facts; each model request is made once."""
    an_endpoint(database, event_types=EVENTS)
    seen = {"when": {"cel": "steps.a.output.data.n == 7 && steps.a.facts.id == 3"}, "with": later("a")}
    trace_id = start(database, reason("a"), step("b", **seen), reason("c", when={"cel": "steps.a.output.data.n < 7"}))
    models = model(a=result(7, {"id": 3}))
    used = go_on(database, trace_id, models)
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED", "COMPLETED", "SKIPPED")
    assert [call.arguments for call in used.calls] == [{"data": {"n": 7}, "facts": {"id": 3}}]
    (ask,) = models.asked
    assert (ask.arguments, ask.previous, ask.guidance, ask.again) == ({"n": 1}, None, None, False)
    assert ask.idempotency_key == f"fwd-{trace_id.hex}-{step_of(database, trace_id, 'a').span_id:016x}-1"
    assert step_of(database, trace_id, "a").proposal is None, "it is merged: kept twice, each turn would read it twice"
    assert told(database) == ["saga.completed"]


@pytest.mark.parametrize(
    ("gate", "code"), [(DENIED, "POLICY_REASON_DENIED"), (BROKEN, "POLICY_EVALUATION_FAILED")], ids=["denied", "broken"]
)
@pytest.mark.parametrize("hitl", [False, True])
def test_a_policy_that_does_not_say_yes(database: Database, gate: dict[str, str], code: str, hitl: bool) -> None:
    """A denied answer is never held for a person to wave it through, and no person sees the facts."""
    more = {"hitl": True} if hitl else {}
    trace_id = start(database, step("a", undo=True), reason("b", undo=True, policy=gate, **more), step("c"))
    used = go_on(database, trace_id, model(b=result(1, {"id": 3})))
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "SKIPPED", "COMPLETED")
    assert error_of(database, trace_id, "b") == code
    assert used.names == ["do_a", "undo_a"]
    assert one(database, "SELECT count(*) FROM pauses") == 0


def test_a_when_that_says_no_asks_nobody(database: Database) -> None:
    trace_id = start(database, reason("a", when={"cel": "input.n > 1"}), step("b", **{"with": later("a")}))
    models = model()
    used = go_on(database, trace_id, models)
    assert (models.asked, used.calls[0].arguments) == ([], {"data": None, "facts": {}})


def test_what_a_reviewer_sees(database: Database) -> None:
    """The answer, what it was asked with, and that no model gave it; nothing of it is merged yet."""
    an_endpoint(database, event_types=EVENTS)
    trace_id = start(database, reason("a", hitl=True, hitl_timeout_seconds=60), step("b", hitl=True))
    go_on(database, trace_id, model(a=result(5, {"id": 3})))
    (item,) = pending_reviews(database, REVIEWER, ReviewFilter(), Page()).items
    assert (item["step_kind"], item["review_subject"], item["review_payload"]) == ("reason", "output", {"n": 5})
    assert (item["mock"], item["step_id"], item["expires_at"] is None) == (True, "a", False)
    pause = get_pause(database, REVIEWER, watch_of(database, trace_id))
    assert pause.context is not None
    about = {name: pause.context[name] for name in ("asked_with", "facts", "provider", "model", "mock", "step_kind")}
    assert about == {"asked_with": {"n": 1}, "facts": {"id": 3}, "provider": "mock", "model": None} | {
        "mock": True,
        "step_kind": "reason",
    }
    assert pause.arguments_digest == canonical_json.digest({"n": 5})
    read = get_step(database, REVIEWER, trace_id, ref(trace_id, step_of(database, trace_id, "a")).span, None)
    assert (read["output_payload"], read["facts"], read["status"]) == ({"n": 5}, {"id": 3}, "AWAITING_HUMAN")
    assert told(database) == ["saga.awaiting_human"]
    approve_held(database, trace_id)
    go_on(database, trace_id, model())
    (item,) = pending_reviews(database, REVIEWER, ReviewFilter(), Page()).items
    assert (item["review_subject"], item["mock"]) == ("arguments", False)


@pytest.mark.parametrize("door", ["step", "pause"])
@pytest.mark.parametrize("edit", [None, {"n": 9}], ids=["as it is", "edited"])
def test_approved(database: Database, held: UUID, door: str, edit: dict[str, Any] | None) -> None:
    """Exactly what was approved is merged, without asking the model again."""
    if door == "step":
        decide_step(database, REVIEWER, current_ref(database, held), approve(arguments=edit))
    else:
        approve_held(database, held, arguments=edit)
    models = model()
    used = go_on(database, held, models)
    assert used.calls[0].arguments == {"data": edit or {"n": 1}, "facts": {}}
    assert (models.asked, statuses(database, held)[0]) == ([], "COMPLETED")
    done = step_of(database, held, "b")
    assert (done.output, done.attempt, done.arguments) == (edit or {"n": 1}, 1, {"n": 1})


@pytest.mark.parametrize("edit", [{"n": "9"}, {"n": 9, "more": 1}, {}])
def test_an_edit_that_breaks_the_schema(database: Database, held: UUID, edit: dict[str, Any]) -> None:
    """Both ways to decide refuse it at once, each with its own field name; the pause stays as it is."""
    with pytest.raises(Invalid) as by_step:
        decide_step(database, REVIEWER, current_ref(database, held), approve(arguments=edit))
    with pytest.raises(Invalid) as by_pause:
        decide_pause(database, REVIEWER, watch_of(database, held), approve(arguments=edit))
    place = ".n" if edit.get("n") == "9" else ""
    assert by_step.value.field_errors[0].path == f"output{place}"
    assert by_pause.value.field_errors[0].path == f"arguments{place}"
    assert pending_pauses(database) == 1


def test_an_edit_that_the_policy_does_not_allow(database: Database, held: UUID) -> None:
    """A reviewer may change what is merged, not what may be: refused at once, and still held."""
    before = statuses(database, held)
    with pytest.raises(Invalid) as refused:
        decide_step(database, REVIEWER, current_ref(database, held), approve(arguments={"n": 11}))
    assert [field_error.path for field_error in refused.value.field_errors] == ["output"]
    assert (pending_pauses(database), statuses(database, held)) == (1, before)
    approve_held(database, held, arguments={"n": 9})
    assert go_on(database, held, model()).names == ["do_c"]
    assert step_of(database, held, "b").output == {"n": 9}


def test_rejected(database: Database, held: UUID) -> None:
    decide_step(database, REVIEWER, current_ref(database, held), reject(comment="nonsense", response={"code": 1}))
    models = model()
    used = go_on(database, held, models)
    assert step_of(database, held, "b").error == Error("HUMAN_REJECTED", "nonsense", {"code": 1})
    assert statuses(database, held) == ("COMPENSATED", "COMPENSATED", "FAILED", "SKIPPED", "COMPLETED")
    assert (used.names, models.asked) == (["undo_a"], [])


def test_approved_with_an_output_as_the_context_has_it(database: Database, held: UUID) -> None:
    """Below `data`, as others send it; what the schema itself calls `data` stays."""
    decide_step(database, REVIEWER, current_ref(database, held), approve(arguments={"data": {"n": 7}}))
    go_on(database, held, model())
    assert step_of(database, held, "b").output == {"n": 7}


def test_approved_with_an_output_that_has_a_field_data(database: Database) -> None:
    data = {"type": "object", "properties": {"data": {"type": "object"}}, "required": ["data"]}
    trace_id = start(database, reason("b", hitl=True, output_schema=data))
    go_on(database, trace_id, model(b=Done({"data": {}})))
    decide_step(database, REVIEWER, current_ref(database, trace_id), approve(arguments={"data": {"n": 7}}))
    go_on(database, trace_id, model())
    assert step_of(database, trace_id, "b").output == {"data": {"n": 7}}


def test_rejected_with_what_cannot_be_a_code(database: Database, held: UUID) -> None:
    decide_step(database, REVIEWER, current_ref(database, held), reject(response={"code": 1, "message": "no", "n": 2}))
    go_on(database, held, model())
    error = step_of(database, held, "b").error
    assert error is not None
    assert error.document() == {"code": "HUMAN_REJECTED", "message": "no", "details": {"code": 1}, "n": 2}


@pytest.mark.parametrize(
    ("on_timeout", "code", "output"),
    [("expire", "HITL_EXPIRED", None), ("reject", "HUMAN_REJECTED", None), ("approve", None, {"n": 1})],
)
def test_nobody_decided_in_time(database: Database, on_timeout: str, code: str | None, output: object) -> None:
    let_time_approve(database)
    trace_id = start(database, reason("a", hitl=True, hitl_timeout_seconds=60, hitl_on_timeout=on_timeout))
    go_on(database, trace_id, model())
    expire(database, watch_of(database, trace_id))
    assert expire_due(database) == 1
    go_on(database, trace_id, model())
    assert (error_of(database, trace_id, "a"), step_of(database, trace_id, "a").output) == (code, output)
    assert statuses(database, trace_id)[0] == ("FAILED" if code else "COMPLETED")


def test_a_model_request_is_rerun_as_often_as_the_manifest_allows(database: Database, held: UUID) -> None:
    """Each time with its last answer and what was said of that; the manifest speaks where the reviewer does not."""
    models = model(b=[2, 3, result(4, {"id": 4})])
    rerun(database, held, "shorter")
    go_on(database, held, models)
    rerun(database, held, None)
    go_on(database, held, models)
    rerun(database, held, "now with feeling")
    go_on(database, held, models)
    wanted = [({"n": 1}, "shorter"), ({"n": 2}, "be brief"), ({"n": 3}, "now with feeling")]
    assert [(ask.previous, ask.guidance) for ask in models.asked] == wanted
    assert len({ask.idempotency_key for ask in models.asked}) == 3, "another call must not be taken for an earlier one"
    with pytest.raises(RetriesUsedUp):
        rerun(database, held, "once more")
    assert pending_pauses(database) == 1
    approve_held(database, held)
    used = go_on(database, held, models)
    assert used.calls[0].arguments == {"data": {"n": 4}, "facts": {"id": 4}}
    ended = [row["status"] for row in rows(database, "SELECT status FROM pauses ORDER BY id")]
    assert ended == ["cancelled"] * 3 + ["approved"]


def test_a_rerun_that_the_policy_denies(database: Database, held: UUID) -> None:
    """The policy is asked each time; what was held before does not come back."""
    rerun(database, held, "more")
    go_on(database, held, model(b=11))
    assert error_of(database, held, "b") == "POLICY_REASON_DENIED"
    assert pending_pauses(database) == 0


def test_changed_in_the_database_after_the_approval(database: Database, held: UUID) -> None:
    """Exactly the approved answer is merged, or nothing."""
    approve_held(database, held)
    change(database, """UPDATE pauses SET arguments = '{"n": 5}'""")
    go_on(database, held, model())
    assert error_of(database, held, "b") == "ARGUMENTS_CHANGED"
    assert step_of(database, held, "b").output is None


def test_the_row_of_the_step_says_nothing_of_what_was_approved(database: Database, held: UUID) -> None:
    """Changed there, the approved answer is another than the step's own: judged again, and merged as approved."""
    approve_held(database, held)
    change(database, """UPDATE saga_steps SET proposal = '{"n": 5}' WHERE step_id = 'b'""")
    go_on(database, held, model())
    assert step_of(database, held, "b").output == {"n": 1}


def test_an_empty_answer_is_an_answer(database: Database) -> None:
    """Where the schema admits it: held, approved as it is, merged."""
    trace_id = start(
        database, reason("a", hitl=True, output_schema={"type": "object"}), step("b", **{"with": later("a")})
    )
    go_on(database, trace_id, model(a=model_result_of({})))
    assert get_pause(database, REVIEWER, watch_of(database, trace_id)).arguments == {}
    rerun(database, trace_id, None)
    models = model(a=model_result_of({"x": None}))
    go_on(database, trace_id, models)
    assert models.asked[0].previous == {}
    approve_held(database, trace_id, arguments={})
    used = go_on(database, trace_id, models)
    assert used.calls[0].arguments == {"data": {}, "facts": {}}
    assert get_step(database, REVIEWER, trace_id, span(database, trace_id), None)["output_payload"] == {}


def model_result_of(data: dict[str, Any]) -> Any:
    return result(Done(data))


def span(database: Database, trace_id: UUID, id_: str = "a") -> str:
    return ref(trace_id, step_of(database, trace_id, id_)).span
