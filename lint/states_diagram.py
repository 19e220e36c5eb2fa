"""The generator of docs/states.md from the transition tables: `python -m lint.states_diagram > docs/states.md`."""

import sys
from collections.abc import Iterator

from domain.pauses import pause
from domain.pauses.consumption import ExecutionStatus
from domain.sagas import saga, step_transitions
from domain.sagas.step import StepStatus

_INTRO = """\
# States

The diagrams show the tables in `domain/sagas/saga.py`, `domain/sagas/step_transitions.py` and `domain/pauses/pause.py`.
No other transition is possible. `python -m lint.states_diagram > docs/states.md` writes this page, so do not edit it.
A test compares the two.
"""
_STEP_NOTE = """\
An undo is also a step, with its own row that names the step it undoes. Only an undo goes from `FAILED` or `TIMED_OUT`
back to `PENDING` (`retry-compensation`). Only a step that is being undone goes through `COMPENSATING`."""
_SAGA_NOTE = """\
A saga leaves `FAILED` only after an undo failed: by `retry-compensation`, or by `resolve` after a manual undo. Such a
saga has `needs_operator` until an operator acts on it. So does a saga with a call whose outcome is unknown; it stays
`RUNNING` or `COMPENSATING`."""
_USE_NOTE = """\
An agent uses an approval at most once (`consume`), and only while it is valid. Then it reports the outcome. The outcome
is missing if no report arrives in time; a late report ends that, and so does an operator (`settle`). An `unknown`
outcome becomes `succeeded` or `failed` by `settle`, or that of a held step by `resolve`."""
_USE = (
    "approved --> used: consume",
    "used --> missing: no report in time",
    *(f"used --> {status}: outcome" for status in ExecutionStatus),
    *(f"missing --> {status}: outcome" for status in ExecutionStatus),
    "unknown --> succeeded: settle, resolve",
    "unknown --> failed: settle, resolve",
    "missing --> succeeded: settle",
    "missing --> failed: settle",
)
_PAUSE_NOTE = "A timeout ends a pause by its `onTimeout`. A decision after `expiresAt` is too late."


def page() -> str:
    parts = [
        _INTRO,
        _section("Saga", _SAGA_NOTE, saga.SagaStatus.PENDING, [*saga.TERMINAL - {saga.SagaStatus.FAILED}], _saga()),
        _section("Step", _STEP_NOTE, StepStatus.PENDING, [*_ends_of_steps()], _step()),
        _section("Pause", _PAUSE_NOTE, pause.Status.PENDING, [*set(pause.Status) - {pause.Status.PENDING}], _pause()),
        _section("Use of an approval", _USE_NOTE, "approved", ["failed", "succeeded"], iter(_USE)),
    ]
    return "\n".join(parts)


def _section(title: str, note: str, first: str, ends: list[str], arrows: Iterator[str]) -> str:
    lines = [f"[*] --> {first}", *arrows, *(f"{end} --> [*]" for end in sorted(ends))]
    drawn = "\n".join(f"    {line}" for line in lines)
    return f"## {title}\n\n{note}\n\n```mermaid\nstateDiagram-v2\n{drawn}\n```\n"


def _saga() -> Iterator[str]:
    for before, targets in saga.TRANSITIONS.items():
        for after in sorted(targets):
            yield f"{before} --> {after}"


def _step() -> Iterator[str]:
    """Yield one arrow between two states, with all its commands."""
    arrows: dict[str, list[str]] = {}
    for (before, command), after in step_transitions.TRANSITIONS.items():
        arrows.setdefault(f"{before} --> {after}", []).append(command.__name__)
    for arrow, commands in arrows.items():
        yield f"{arrow}: {', '.join(commands)}"


def _ends_of_steps() -> Iterator[str]:
    left = {before for before, _ in step_transitions.TRANSITIONS}
    return (status for status in StepStatus if status not in left)


def _pause() -> Iterator[str]:
    for (before, command), targets in pause.TRANSITIONS.items():
        yield from (f"{before} --> {after}: {command.__name__}" for after in targets)


if __name__ == "__main__":
    sys.stdout.write(page())
