"""The examples in docs/prompts.md can be deployed and rendered unchanged."""

import re
from pathlib import Path
from typing import Any

from jinja2.defaults import DEFAULT_FILTERS

from adapters.yaml_text import read_yaml
from domain.manifests.bundle import freeze
from domain.manifests.definition import SagaDefinition, StepDefinition
from domain.manifests.manifest import parse
from domain.manifests.prompts import prompt_error, render
from domain.manifests.resources import allows, bind
from domain.values.json_schema import value_errors

DOC = (Path(__file__).parents[3] / "docs" / "prompts.md").read_text()
MANIFEST, TEMPLATE = (re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)[0] for language in ("yaml", "jinja"))
ORDERS = [
    {"id": 7, "open": True, "items": [{"name": "cup"}, {"name": "pot"}]},
    {"id": 8, "open": False, "items": []},
]


class Files:
    def text(self, field: str, path: str) -> str:
        assert (field, path) == ("prompt", "prompts/answer.j2")
        return TEMPLATE

    def value(self, field: str, path: str) -> Any:
        raise AssertionError(field, path)


def _step() -> StepDefinition:
    saga = parse(freeze(read_yaml(MANIFEST), Files()))
    assert isinstance(saga, SagaDefinition)
    return saga.steps[0]


def test_the_example_is_rendered() -> None:
    mind = _step().reasoning
    assert mind is not None
    text = render(mind.prompt, {"name": "Ada", "orders": ORDERS}, None)
    assert text.split("\n") == ["Write an answer to Ada.", "", "Order 7: cup, pot", ""]
    assert "There is no open order." in render(mind.prompt, {"name": None, "orders": ORDERS[1:]}, None)


def test_the_example_fits_itself() -> None:
    mind = _step().reasoning
    assert mind is not None
    assert not list(value_errors(dict(mind.output_schema), dict(mind.script[-1].arguments), ""))
    assert allows(bind(mind.resources, {"customer": 12}), "faq://12/refunds/late")


def test_the_filters_are_those_there_are() -> None:
    listed = re.search(r"Filters: `([^`]*)`", DOC)
    assert listed is not None
    names = listed[1].split()
    assert {name for name in {*DEFAULT_FILTERS, *names} if prompt_error(f"{{{{ x | {name} }}}}", {"x"}) is None} == {
        *names
    }
