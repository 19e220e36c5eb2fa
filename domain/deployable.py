"""What is refused when a definition is deployed, though one that is there already may go on: it can be read, but some
of it could never do what it says."""

import re
from collections.abc import Iterator

from domain import policy, reach
from domain.definition import SagaDefinition, WorkerDefinition
from domain.errors import Fault

# As other systems write a variable of the environment. Sent as it stands, it would be a wrong password.
_OTHER_VARIABLE = re.compile(r"\$\{(?!ENV)[A-Za-z_][A-Za-z0-9_]*\}")


def faults(definition: WorkerDefinition | SagaDefinition) -> list[Fault]:
    """Each with its place, also of a definition that has other faults."""
    if isinstance(definition, WorkerDefinition):
        return list(_worker_faults(definition))
    return [*reach.binding_faults(definition), *reach.expression_faults(definition), *_certain_faults(definition)]


def _certain_faults(saga: SagaDefinition) -> Iterator[Fault]:
    for index, step in enumerate(saga.steps):
        texts = {"when": step.when, "policy": None if step.policy is None else step.policy.cel}
        for place, text in texts.items():
            if text and (message := policy.certain_fault(text)) is not None:
                yield Fault(f"steps[{index}].{place}.cel", message)


def _worker_faults(worker: WorkerDefinition) -> Iterator[Fault]:
    for index, source in enumerate(worker.tool_sources):
        texts = {"url": source.url or "", **{f"headers.{name}": text for name, text in source.headers.items()}}
        for place, text in texts.items():
            if found := _OTHER_VARIABLE.search(text):
                wanted = found[0].replace("${", "${ENV:")
                yield Fault(f"tool_sources[{index}].{place}", f"has {found[0]}, which stays as it is: write {wanted}")
