"""A question that cannot even be asked: it is answered for, and its worker is free of it."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from domain.definition import Adapter, Thinking, WorkerDefinition
from domain.outcome import Failed
from domain.thought import Thought
from services.due import SAGA, Lease
from services.saga_work import Ask
from services.transaction import Store
from tasks import thoughts
from tasks.leases import LeaseKeeper
from tasks.thoughts import Thoughts

WORKER = WorkerDefinition("w", "default", "1", "", "mock", None, 0.0, None, None, ())


def ask(prompt: str = "What?") -> Ask:
    adapter, schema = Adapter.SIMPLE, {"type": "object"}
    thinking = Thinking(prompt, "inline", adapter, (), (), (), schema, 10, None, keep_transcript=False, script=())
    return Ask(
        lease=Lease(SAGA, uuid4(), uuid4()),
        span_id=1,
        worker=WORKER,
        system=None,
        undoes=False,
        thinking=thinking,
        arguments={},
        previous=None,
        guidance=None,
        idempotency_key="fwd-1",
        timeout=5.0,
        again=False,
        queue_ms=0.0,
    )


def broken() -> Any:
    raise ImportError("no such library")


@pytest.mark.parametrize(("prompt", "code"), [("What?", "INTERNAL"), ("{{ 1 // 0 }}", "PROMPT_FAILED")])
def test_the_step_fails(prompt: str, code: str, worker: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Thought] = []
    note: Callable[..., None] = lambda _, ask, thought, report, jitter: recorded.append(thought)  # noqa: E731
    monkeypatch.setattr(thoughts, "record_thought", note)
    leases = LeaseKeeper(worker)
    asked = ask(prompt)
    made = Thoughts(worker, leases, broken)
    made.begin(asked)
    draining = threading.Thread(target=made.drain, daemon=True)
    draining.start()
    draining.join(20)
    assert not draining.is_alive(), "it is kept for ever"
    (thought,) = recorded
    assert isinstance(thought.outcome, Failed)
    assert (thought.outcome.error.code, thought.outcome.acted) == (code, False)
    assert not leases.holds(asked.lease)
