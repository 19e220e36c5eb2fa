"""The checks that run only at deployment: the definition is readable, but some part of it can never work.

Definitions that are already deployed stay valid.
"""

from collections.abc import Iterator

from domain.manifests import cel, path_shapes, variable_syntax
from domain.manifests.definition import SagaDefinition, WorkerDefinition
from domain.values.errors import FieldError


def field_errors(definition: WorkerDefinition | SagaDefinition) -> list[FieldError]:
    """Return the errors with their places. The definition may have other errors too."""
    if isinstance(definition, WorkerDefinition):
        return list(_worker_errors(definition))
    return [
        *path_shapes.binding_errors(definition),
        *path_shapes.expression_errors(definition),
        *_certain_errors(definition),
    ]


def _certain_errors(saga: SagaDefinition) -> Iterator[FieldError]:
    for index, step in enumerate(saga.steps):
        texts = {"when": step.when, "policy": None if step.policy is None else step.policy.cel}
        for place, text in texts.items():
            if text and (message := cel.certain_error(text)) is not None:
                yield FieldError(f"steps[{index}].{place}.cel", message)


def _worker_errors(worker: WorkerDefinition) -> Iterator[FieldError]:
    for index, source in enumerate(worker.tool_sources):
        for field_error in variable_syntax.field_errors(source):
            yield FieldError(f"tool_sources[{index}].{field_error.path}", field_error.message)
