"""The steps to undo, in their order, and the inputs of an undo."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from domain.sagas.step import BROKEN, TOOL_OUTPUT_ERROR, Step, StepStatus
from domain.values.canonical_json import encode


def to_undo(steps: Sequence[Step], undoable: Collection[str]) -> tuple[Step, ...]:
    """Return, last one first, every completed step and each step whose call may have been carried out.

    `steps` are in the order in which they ran. `undoable` has the ids of the steps with a compensation.
    """
    return tuple(step for step in reversed(steps) if step.id in undoable and _may_have_acted(step))


def undone_if_rejected(steps: Sequence[Step], held: Step, undoable: Collection[str]) -> tuple[Step, ...]:
    """Return the steps that a rejection of the held step undoes, last one first. `steps` are as in `to_undo`."""
    after = [replace(step, status=StepStatus.FAILED) if step is held else step for step in steps]
    return to_undo(after, undoable)


def _may_have_acted(step: Step) -> bool:
    if step.status is StepStatus.COMPLETED:
        return True
    return step.status in BROKEN and step.call.may_have_acted


def undo_facts(undo_span: str, forward_span: str, forward: Step, key: str) -> dict[str, object]:
    """Return `_compensation` for an undo's bindings.

    `dirty_failure` means that the step's call began. `blind_cleanup` means that its outcome is also unknown.
    """
    return {
        "blind_cleanup": forward.call.may_have_acted and not _acted_for_sure(forward),
        "dirty_failure": forward.call.may_have_acted,
        "has_forward_output": forward.output is not None,
        "idempotency_key": key,
        "undo_span_id": undo_span,
        "forward_span_id": forward_span,
    }


def undo_message(arguments: Mapping[str, object]) -> str:
    """Return the message to a model that undoes a step."""
    return (
        "Undo a step of a longer task. Use only the tools that you have, then submit whether the step is undone."
        " If `_compensation.blind_cleanup` is true, it is unknown whether the step was carried out: check first."
        " If there is nothing to undo, the step counts as undone.\n\n"
        f"The step, as JSON:\n\n{encode(arguments)}"
    )


def _acted_for_sure(step: Step) -> bool:
    return step.error is not None and step.error.code == TOOL_OUTPUT_ERROR
