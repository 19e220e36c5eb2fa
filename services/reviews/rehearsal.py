"""The rehearsal: one held step from its start to its result, rolled back, before a process says that it is ready.

The first statement of a kind is compiled by SQLAlchemy, and a new connection reads the catalogs of PostgreSQL. A first
decision would wait for both.
"""

import os
from dataclasses import replace
from typing import Any

from domain.identity.access import Principal, Role
from domain.pauses.pause import Approve
from domain.sagas.outcome import Done, ToolFound
from domain.sagas.serialization import span_text
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from services.pauses.lifecycle import actor
from services.reviews.step_decisions import decide_step
from services.sagas.engine import advance, record, record_look_up
from services.sagas.lifecycle import StartRequest, start_saga
from services.sagas.queries import StepRef
from services.sagas.turns import Taken, Turn, take_turns
from services.sagas.work import ToolCall, ToolLookup, Work

_NAME = {"name": "rehearsal", "version": "1"}
# Nothing is sent to this address.
_SOURCE = {"name": "none", "transport": "streamable_http", "url": "https://tools.invalid/mcp"}
_STEP = {"id": "held", "kind": "commit", "worker": "rehearsal", "worker_version": "1", "with": {}, "hitl": True}


def rehearse(database: Database) -> None:
    """Start, hold, approve and complete a saga in a namespace of its own, and roll everything back."""
    namespace = f"rehearsal-{os.urandom(8).hex()}"
    agent = Principal("rehearsal-agent", "rehearsal", Role.ADMIN, (namespace,))
    worker: dict[str, Any] = {"kind": "worker", "namespace": namespace, **_NAME, "tool_sources": [_SOURCE]}
    step = {**_STEP, "tools": {"allow": ["none"]}}
    with database.rehearsal() as rehearsed:
        deploy(rehearsed, agent, worker, replace=False)
        deploy(rehearsed, agent, {"kind": "saga", "namespace": namespace, **_NAME, "steps": [step]}, replace=False)
        trace_id, _ = start_saga(rehearsed, agent, StartRequest(namespace, "rehearsal", "1", {}))
        look_up = _take(rehearsed, advance(trace_id))
        assert isinstance(look_up, ToolLookup)
        _take(rehearsed, record_look_up(look_up, ToolFound({}), 0.0))
        reviewer = replace(agent, id="rehearsal-reviewer")
        decide_step(rehearsed, reviewer, StepRef(trace_id, span_text(look_up.span_id)), Approve(actor(reviewer)))
        call = _take(rehearsed, advance(trace_id))
        assert isinstance(call, ToolCall)
        _take(rehearsed, record(call, Done({}), {}, 0.0))


def _take(database: Database, turn: Turn) -> Work | None:
    (taken,) = take_turns(database, lambda: [turn])
    assert isinstance(taken, Taken), "a turn that is alone raises"
    return taken.work
