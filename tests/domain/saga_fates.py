"""Input for the laws of sagas: random steps, and the possible outcomes of each call and of each model request."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

from hypothesis import strategies as st

from domain.pauses.pause import OnTimeout, Pause
from domain.sagas.outcome import Done, Failed, Lost, NotSent, Outcome, TimedOut
from domain.sagas.saga import Saga
from domain.sagas.step import Error, Step

ERROR = Error("X", "as the test wants it")


@dataclass(frozen=True)
class Spec:
    """A step: `idempotent` comes from the manifest, `tool_hint` from the tool, and `undo_hint` from the undo's tool.

    With `reasons` a model runs it, and with `acts` that model has a tool that may change something.
    """

    hitl: bool
    undoable: bool
    runs: bool
    allowed: bool
    idempotent: bool | None
    tool_hint: bool
    undo_hint: bool
    on_timeout: OnTimeout
    reasons: bool = False
    acts: bool = True

    def bears_repeating(self, *, undo: bool) -> bool:
        if undo:
            return self.undo_hint
        if self.reasons:
            return self.tool_hint or not self.acts
        return self.tool_hint if self.idempotent is None else self.idempotent


# Mostly plain steps: sagas that end at the first one say little.
_RARELY, _OFTEN = st.sampled_from([False] * 7 + [True]), st.sampled_from([True, True, False])
SPECS = st.builds(
    Spec,
    hitl=st.booleans(),
    undoable=_OFTEN,
    runs=_RARELY.map(lambda rare: not rare),
    allowed=_RARELY.map(lambda rare: not rare),
    idempotent=st.sampled_from([None, True, False]),
    tool_hint=st.booleans(),
    undo_hint=st.booleans(),
    # Not `escalate`: that takes a review policy (tests/services/reviews/test_held_step_reviews.py).
    on_timeout=st.sampled_from([OnTimeout.EXPIRE, OnTimeout.REJECT, OnTimeout.APPROVE]),
    reasons=st.booleans(),
    acts=st.booleans(),
)


class AnyCall(Protocol):
    @property
    def span_id(self) -> int: ...
    @property
    def arguments(self) -> dict[str, Any]: ...
    @property
    def again(self) -> bool: ...


class Engine(Protocol):
    """The operations that the machine needs. A refused one raises `Conflict`."""

    def advance(self) -> Any: ...
    def record(self, call: Any, outcome: Outcome) -> Any: ...
    def record_model_result(self, ask: Any, outcome: Outcome, acted: bool) -> None: ...
    def die(self) -> None:
        """The worker's lease runs out."""

    def pass_time(self) -> None:
        """Make the postponed work due."""

    def saga(self) -> Saga: ...
    def is_due(self) -> bool: ...
    def pauses(self) -> dict[UUID, Pause]: ...
    def approve(self, watch_id: UUID, arguments: dict[str, Any] | None) -> None: ...
    def reject(self, watch_id: UUID) -> None: ...
    def expire(self, watch_id: UUID) -> None: ...
    def rerun(self, step: Step) -> None: ...
    def cancel(self) -> None: ...
    def resolve(self, step: Step, done: bool) -> None: ...
    def retry(self, step: Step, force: bool, allow_destructive: bool) -> str: ...


# The outcomes of a call: whether it was carried out, and the answer that the worker gets.
HOWS: dict[str, tuple[bool, Callable[[bool], Outcome] | None]] = {
    "done": (True, lambda _: Done({"ok": 1})),
    "refused": (False, lambda _: Failed(ERROR)),
    "useless answer": (True, lambda _: Failed(ERROR, acted=True)),
    "not sent": (False, lambda _: NotSent(ERROR)),
    "slow": (True, lambda _: TimedOut(ERROR)),
    "never came": (False, lambda _: TimedOut(ERROR)),
    "answer lost": (True, lambda idempotent: Lost("lost", idempotent)),
    "call lost": (False, lambda idempotent: Lost("lost", idempotent)),
    "died after": (True, None),
    "died before": (False, None),
}
# Or few sagas would get beyond their first step.
OFTEN_DONE = ["done"] * 8 + sorted(HOWS)
CERTAIN = ("refused", "not sent")
# The outcomes of a model request: whether the model's tools changed something, and the answer that the worker gets.
# Only a model that has such tools can have lost the answer of one.
MODEL_REQUESTS: dict[str, tuple[bool, Outcome | None]] = {
    "answered": (False, Done({"n": 1})),
    "acted and answered": (True, Done({"n": 1})),
    "failed": (False, Failed(ERROR)),
    "acted and failed": (True, Failed(ERROR, acted=True)),
    "not asked": (False, NotSent(ERROR)),
    "slow": (False, TimedOut(ERROR, acted=False)),
    "acted, and slow": (True, TimedOut(ERROR)),
    "a tool's answer lost": (True, Lost("lost", False)),
    "died after": (True, None),
    "died before": (False, None),
}
OFTEN_ANSWERED = ["answered"] * 5 + ["acted and answered"] * 3 + sorted(MODEL_REQUESTS)


def without_tools(outcome: Outcome) -> Outcome:
    match outcome:
        case Failed() | TimedOut():
            return replace(outcome, acted=False)
    return outcome
