"""What is refused when a definition is deployed, though one that is there already may go on: it can be read, but some
of it could never do what it says."""

from collections.abc import Iterator

from domain.manifests import cel, path_shapes, variable_syntax
from domain.manifests.definition import SagaDefinition, WorkerDefinition
from domain.values.errors import Fault


def faults(definition: WorkerDefinition | SagaDefinition) -> list[Fault]:
    """Each with its place, also of a definition that has other faults."""
    if isinstance(definition, WorkerDefinition):
        return list(_worker_faults(definition))
    return [
        *path_shapes.binding_faults(definition),
        *path_shapes.expression_faults(definition),
        *_certain_faults(definition),
    ]


def _certain_faults(saga: SagaDefinition) -> Iterator[Fault]:
    for index, step in enumerate(saga.steps):
        texts = {"when": step.when, "policy": None if step.policy is None else step.policy.cel}
        for place, text in texts.items():
            if text and (message := cel.certain_fault(text)) is not None:
                yield Fault(f"steps[{index}].{place}.cel", message)


def _worker_faults(worker: WorkerDefinition) -> Iterator[Fault]:
    for index, source in enumerate(worker.tool_sources):
        for fault in variable_syntax.faults_of(source):
            yield Fault(f"tool_sources[{index}].{fault.path}", fault.message)
