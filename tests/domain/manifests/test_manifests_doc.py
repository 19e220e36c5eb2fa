"""The manifests in docs/manifests.md can be deployed as they stand there."""

import re
from pathlib import Path
from typing import Any

from adapters.yaml_text import read_yaml
from domain.manifests.bundle import freeze
from domain.manifests.definition import SagaDefinition, WorkerDefinition
from domain.manifests.manifest import parse

DOC = Path(__file__).parents[3] / "docs" / "manifests.md"


class Files:
    def __init__(self, undo: Any) -> None:
        self._undo = undo

    def text(self, field: str, path: str) -> str:
        assert (field, path) == ("policy", "policies/limit.cel")
        return "arguments.amount <= 500"

    def value(self, field: str, path: str) -> Any:
        assert (field, path) == ("compensation", "undo/pay.yaml")
        return self._undo


def test_the_examples_can_be_deployed() -> None:
    worker, saga, undo = (read_yaml(text) for text in re.findall(r"```yaml\n(.*?)```", DOC.read_text(), re.DOTALL))
    assert isinstance(parse(freeze(worker, Files(undo))), WorkerDefinition)
    assert isinstance(parse(freeze(saga, Files(undo))), SagaDefinition)
