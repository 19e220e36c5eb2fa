"""Which steps are undone, and in which order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from domain.sagas.step import BROKEN, TOOL_OUTPUT_ERROR, Step, StepStatus
from domain.values.canonical_json import encode


def to_undo(steps: Sequence[Step], undoable: Collection[str]) -> tuple[Step, ...]:
    """The last one first: every step that was done, and one whose call may have been carried out.

    `steps`: in the order in which they ran. `undoable`: ids of those that have a compensation.
    """
    return tuple(step for step in reversed(steps) if step.id in undoable and _may_have_acted(step))


def undone_if_rejected(steps: Sequence[Step], held: Step, undoable: Collection[str]) -> tuple[Step, ...]:
    """What a reviewer who rejects the held step has undone, the last one first. `steps`: as in `to_undo`."""
    after = [replace(step, status=StepStatus.FAILED) if step is held else step for step in steps]
    return to_undo(after, undoable)


def _may_have_acted(step: Step) -> bool:
    if step.status is StepStatus.COMPLETED:
        return True
    return step.status in BROKEN and step.call_began


def undo_facts(undo_span: str, forward_span: str, forward: Step, key: str) -> dict[str, object]:
    """What an undo's bindings see as `_compensation`.

    dirty_failure: the step failed, and may have done something. blind_cleanup: and nobody knows whether it did.
    """
    return {
        "blind_cleanup": forward.call_began and not _acted_for_sure(forward),
        "dirty_failure": forward.call_began,
        "has_forward_output": forward.output is not None,
        "idempotency_key": key,
        "undo_span_id": undo_span,
        "forward_span_id": forward_span,
    }


def undo_message(arguments: Mapping[str, object]) -> str:
    """What a model is told that undoes a step."""
    return (
        "A step of a longer piece of work is to be undone. Undo it with the tools that you have, and nothing else; then"
        " submit whether it is undone. Where `_compensation.blind_cleanup` is true nobody knows whether the step was"
        " carried out: look first. Where there was nothing to undo, it counts as undone.\n\n"
        f"What is known of the step, as JSON:\n\n{encode(arguments)}"
    )


def _acted_for_sure(step: Step) -> bool:
    return step.error is not None and step.error.code == TOOL_OUTPUT_ERROR
