"""Sagas for the service tests: short manifests, a worker that is driven by hand, and tools that only keep a ledger."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain.sagas.outcome import Done, Failed, Lost, NotSent, Outcome, ToolFound
from domain.sagas.saga import Saga
from domain.sagas.serialization import span_text
from domain.sagas.step import Step
from domain.values import ids
from models.sagas import sagas
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from services.sagas.lifecycle import StartRequest, start_saga
from services.sagas.queries import StepRef
from services.sagas.repository import with_steps
from services.sagas.work import ToolCall, ToolLookup, Work
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.saga_turns import advance, record, record_look_up
from tests.services.world import ADMIN, AGENT, REVIEWER, approve, change, one, reject

WORKER = {
    "kind": "worker",
    "name": "w",
    "version": "1",
    "provider": "mock",
    "tool_sources": [{"name": "tools", "transport": "stdio", "command": "tools"}],
}
OF_WORKER = {"worker": "w", "worker_version": "1"}
EVENTS = (
    "saga.awaiting_human",
    "saga.completed",
    "saga.failed",
    "saga.compensated",
    "saga.needs_operator",
    "step.failed",
)


def step(id_: str, *, undo: bool = False, **more: Any) -> dict[str, Any]:
    """A commit step that calls the tool `do_<id>` with {"n": input.n}; with `undo`, undone by `undo_<id>`."""
    made = {"id": id_, "kind": "commit", **OF_WORKER, "with": {"n": {"from": "$.input.n"}}}
    made |= {"tools": {"allow": [f"do_{id_}"]}}
    return made | (undone(id_) if undo else {}) | more


def undone(id_: str) -> dict[str, Any]:
    """Return the manifest of a step's compensation by `undo_<id>`."""
    bindings = {"done": {"from": f"$.steps.{id_}.output.data"}, "facts": {"from": "$._compensation"}}
    return {"compensation": {**OF_WORKER, "with": bindings, "tools": [f"undo_{id_}"]}}


def start(database: Database, *steps: dict[str, Any], **input_: Any) -> UUID:
    """A new saga of these steps; it has not begun."""
    deploy(database, ADMIN, WORKER, replace=False)
    deploy(database, ADMIN, {"kind": "saga", "name": "s", "version": "1", "steps": list(steps)}, replace=True)
    return start_saga(database, AGENT, StartRequest("default", "s", "1", input_ or {"n": 1}))[0]


@dataclass
class Tools:
    """Plays every tool.

    Attributes:
        answers: the next results of a tool, by its name. When none is left, the result is `{"of": name}`.
        idempotent: names of tools that declare themselves idempotent (`idempotentHint`).
        calls: that reached a tool.
        schemas: what a tool wants to be called with, by its name; anything where nothing is here. Or that it is away.
    """

    answers: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    idempotent: set[str] = field(default_factory=set)
    calls: list[ToolCall] = field(default_factory=list)
    schemas: dict[str, dict[str, Any] | list[ToolFound | Failed | NotSent]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [call.tool for call in self.calls]

    def look_up(self, work: ToolLookup) -> ToolFound | Failed | NotSent:
        found = self.schemas.get(work.tool, {})
        return found.pop(0) if isinstance(found, list) else ToolFound(found)

    def make(self, call: ToolCall) -> Outcome:
        """As a worker's task does it: a call that may be the second one is made only if the tool bears that."""
        may_repeat = call.tool in self.idempotent if call.idempotent is None else call.idempotent
        if call.again and not may_repeat:
            return Lost("the answer was lost", False)
        self.calls.append(call)
        waiting = self.answers[call.tool]
        return waiting.pop(0) if waiting else Done({"of": call.tool})


def tools(*idempotent: str, **answers: Outcome | list[Outcome]) -> Tools:
    made = Tools(idempotent=set(idempotent))
    for name, outcome in answers.items():
        made.answers[name] = list(outcome) if isinstance(outcome, list) else [outcome]
    return made


def work(database: Database, trace_id: UUID, tools: Tools) -> None:
    """Do what a worker does on a wake-up."""
    call = looked_up(database, advance(database, trace_id), tools)
    while call is not None:
        call = looked_up(database, record(database, call, tools.make(call), {}, 0.5), tools)


def looked_up(database: Database, work: Work | None, tools: Tools | None = None) -> Any:
    """Return the next action, after looking up tools whose calls are to be held."""
    while isinstance(work, ToolLookup):
        work = record_look_up(database, work, (tools or Tools()).look_up(work), 0.5)
    return work


def claimed(database: Database, trace_id: UUID) -> ToolCall:
    """A worker that is about to make a call."""
    call = looked_up(database, advance(database, trace_id))
    assert call is not None, "it could not be claimed, or there is nothing to call"
    return call


def die(database: Database, trace_id: UUID) -> None:
    """The worker's lease runs out."""
    moved = "UPDATE sagas SET leased_until = now() - interval '1 s' WHERE id = :id AND lease_token IS NOT NULL"
    assert change(database, moved, id=trace_id) == 1


def wait(database: Database, trace_id: UUID) -> None:
    """Until what was postponed is due."""
    moved = "UPDATE sagas SET due_at = now(), hint_at = now() WHERE id = :id AND due_at IS NOT NULL"
    assert change(database, moved, id=trace_id) == 1


def saga_of(database: Database, trace_id: UUID) -> Saga:
    with database.reading() as conn:
        (record,) = with_steps(conn, conn.execute(select(sagas).where(sagas.c.id == trace_id)).mappings().all())
    return record.saga


def step_of(database: Database, trace_id: UUID, id_: str) -> Step:
    return next(step for step in saga_of(database, trace_id).steps if step.id == id_)


def undo_of(database: Database, trace_id: UUID, id_: str) -> Step:
    return next(undo for undo in saga_of(database, trace_id).undos if undo.id == id_)


def statuses(database: Database, trace_id: UUID) -> tuple[str, ...]:
    """The saga's, its steps', and its undos'."""
    saga = saga_of(database, trace_id)
    return (str(saga.status), *(str(step.status) for step in saga.all_steps))


def error_of(database: Database, trace_id: UUID, id_: str) -> str | None:
    error = step_of(database, trace_id, id_).error
    return None if error is None else error.code


def ref(trace_id: UUID, step: Step) -> StepRef:
    return StepRef(trace_id, span_text(step.span_id))


def current_ref(database: Database, trace_id: UUID) -> StepRef:
    current = saga_of(database, trace_id).current
    assert current is not None
    return ref(trace_id, current)


def watch_of(database: Database, trace_id: UUID) -> str:
    """Return a reference to the held step."""
    current = saga_of(database, trace_id).current
    assert current is not None
    assert current.watch_id is not None
    return ids.text(ids.WATCH, current.watch_id)


def approve_held(database: Database, trace_id: UUID, **more: Any) -> None:
    decide_pause(database, REVIEWER, watch_of(database, trace_id), approve(**_read(database, trace_id, more)))


def reject_held(database: Database, trace_id: UUID, **more: Any) -> None:
    decide_pause(database, REVIEWER, watch_of(database, trace_id), reject(**_read(database, trace_id, more)))


def _read(database: Database, trace_id: UUID, more: dict[str, Any]) -> dict[str, Any]:
    """As one decides who has read what is held now."""
    return {"revision": get_pause(database, REVIEWER, watch_of(database, trace_id)).revision, **more}


def pending_pauses(database: Database) -> int:
    return int(one(database, "SELECT count(*) FROM pauses WHERE status = 'pending'"))


def is_due(database: Database, trace_id: UUID) -> bool:
    return bool(one(database, "SELECT due_at IS NOT NULL FROM sagas WHERE id = :id", id=trace_id))
