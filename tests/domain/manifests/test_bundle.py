"""Freezing: what a manifest refers to is put into it, and nothing outside of its folder is asked for."""

from copy import deepcopy
from typing import Any

import pytest

from domain.manifests.bundle import freeze, path_error, referenced
from domain.manifests.manifest import parse_saga
from domain.values.errors import InvalidManifest

SAGA: dict[str, Any] = {
    "kind": "saga",
    "name": "s",
    "version": "1",
    "steps": [
        {
            "id": "think",
            "kind": "reason",
            "worker": "w",
            "worker_version": "1",
            "prompt": "prompts/x.j2",
            "policy": "policies/p.cel",
            "output_schema": "schemas/o.json",
        },
        {
            "id": "act",
            "kind": "commit",
            "worker": "w",
            "worker_version": "1",
            "tools": {"allow": ["t"]},
            "compensation": "undo/act.yaml",
        },
    ],
}
FILES: dict[str, Any] = {
    "prompts/x.j2": "Hello",
    "policies/p.cel": "output.n < 5",
    "schemas/o.json": {"type": "object"},
    "undo/act.yaml": {"worker": "w", "worker_version": "1", "tools": ["untie"]},
}


class Files:
    def __init__(self, **more: Any) -> None:
        self.files = FILES | more
        self.asked: list[tuple[str, str]] = []

    def text(self, field: str, path: str) -> str:
        self.asked.append((field, path))
        if path not in self.files:
            raise LookupError(f"{path} is missing")
        found: str = self.files[path]
        return found

    def value(self, field: str, path: str) -> Any:
        found: Any = self.text(field, path)
        if found == "broken":
            raise ValueError("line 1: broken")
        return found


def _field_errors(document: object, files: Files) -> dict[str, str]:
    with pytest.raises(InvalidManifest) as caught:
        freeze(document, files)
    return {field_error.path: field_error.message for field_error in caught.value.field_errors}


def test_what_is_referred_to_is_put_in() -> None:
    before = deepcopy(SAGA)
    frozen = freeze(SAGA, Files())
    assert before == SAGA
    ask_model, act = frozen["steps"]
    assert ask_model["prompt"] == {"inline": "Hello", "ref": "prompts/x.j2"}
    assert ask_model["policy"] == {"name": "policies/p.cel", "cel": "output.n < 5"}
    assert ask_model["output_schema"] == {"type": "object"}
    assert act["compensation"] == FILES["undo/act.yaml"]
    first, second = parse_saga(frozen).steps
    assert first.reasoning is not None
    assert first.reasoning.prompt_ref == "prompts/x.j2"
    assert second.undo is not None
    assert second.undo.tools == ("untie",)


@pytest.mark.parametrize(
    ("path", "file", "content", "policy"),
    [
        ("gate.yaml", "gate.yaml", {"name": "gate", "version": "1", "cel": "true"}, ("gate", "true")),
        ("a/gate.yml", "a/gate.yml", {"cel": "true", "version": 2}, ("a/gate", "true")),
        ("gate", "gate.yaml", {"cel": "true"}, ("gate", "true")),
        ("gate.yaml", "gate.yaml", "output.n < 5", ("gate.yaml", "output.n < 5")),
        ("gate", "gate", "output.n < 5", ("gate", "output.n < 5")),
    ],
)
def test_a_policy_file(path: str, file: str, content: object, policy: tuple[str, str]) -> None:
    """CEL, or YAML with a name and CEL in it."""
    saga = SAGA | {"steps": [SAGA["steps"][0] | {"policy": path}, SAGA["steps"][1]]}
    found = parse_saga(freeze(saga, Files(**{file: content}))).steps[0].policy
    assert found is not None
    assert (found.name, found.cel) == policy
    assert ("policy", file) in referenced(saga)


def test_a_policy_file_with_an_error() -> None:
    saga = SAGA | {"steps": [SAGA["steps"][0] | {"policy": "gate.yaml"}, SAGA["steps"][1]]}
    assert _field_errors(saga, Files(**{"gate.yaml": {"name": "x", "rego": "y"}})).keys() == {
        "steps[0].policy.cel",
        "steps[0].policy.rego",
    }


def test_the_schema_of_the_input_is_put_in() -> None:
    files = Files(**{"schemas/i.json": {"type": "object", "properties": {"n": {}}, "additionalProperties": False}})
    saga = SAGA | {"input_schema": "schemas/i.json"}
    assert ("input_schema", "schemas/i.json") in referenced(saga)
    assert parse_saga(freeze(saga, files)).input_schema == files.files["schemas/i.json"]
    act = SAGA["steps"][1] | {"with": {"n": {"from": "$.input.m"}}}
    assert _field_errors(saga | {"steps": [act]}, files).keys() == {"steps[0].with.n.from"}


def test_what_is_frozen_freezes_to_itself() -> None:
    frozen = freeze(SAGA, Files())
    files = Files()
    assert freeze(frozen, files) == frozen
    assert files.asked == []


def test_a_missing_file_is_one_error_beside_the_others() -> None:
    files = Files()
    del files.files["prompts/x.j2"], files.files["undo/act.yaml"]
    files.files |= {"schemas/o.json": "broken", "policies/p.cel": "1 +"}
    assert _field_errors(SAGA | {"colour": 1}, files) | {"colour": "", "steps[0].policy.cel": ""} == {
        "colour": "",
        "steps[0].prompt": "prompts/x.j2 is missing",
        "steps[0].policy.cel": "",
        "steps[0].output_schema": "schemas/o.json cannot be read: line 1: broken",
        "steps[1].compensation": "undo/act.yaml is missing",
    }


def test_a_missing_policy_is_an_error_at_its_reference() -> None:
    """The extension `.yaml` may be omitted, but a wrong extension is not replaced."""
    for path, missing in (("gate.cel", "gate.cel"), ("gate", "gate.yaml")):
        saga = SAGA | {"steps": [SAGA["steps"][0] | {"policy": path}, SAGA["steps"][1]]}
        assert _field_errors(saga, Files()) == {"steps[0].policy": f"{missing} is missing"}


def test_the_content_of_a_file_has_its_own_errors() -> None:
    files = Files(**{"undo/act.yaml": {"worker": "w", "tools": []}})
    assert _field_errors(SAGA, files).keys() == {"steps[1].compensation.worker_version", "steps[1].compensation.tools"}


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../../x", "a/..", "..", "a\\b", "C:/x", "c:x", "~/x", "a\x00b", "x" * 256],
)
def test_a_path_that_leaves_its_folder_is_never_read(path: str) -> None:
    assert path_error(path) is not None
    files = Files()
    document = SAGA | {"steps": [SAGA["steps"][0] | {"prompt": path}]}
    assert "steps[0].prompt" in _field_errors(document, files) or path == "a\x00b"
    assert ("prompt", path) not in files.asked


@pytest.mark.parametrize("path", ["x.j2", "a/b/c.j2", "./x", "a..b", "..a", "é.j2"])
def test_a_path_inside(path: str) -> None:
    assert path_error(path) is None


def test_what_is_referred_to() -> None:
    assert list(referenced(SAGA)) == [
        ("prompt", "prompts/x.j2"),
        ("policy", "policies/p.cel"),
        ("output_schema", "schemas/o.json"),
        ("compensation", "undo/act.yaml"),
    ]
    for odd in (None, [], {"kind": "saga"}, {"kind": "saga", "steps": [1, None]}, {"kind": "worker", "steps": [{}]}):
        assert list(referenced(odd)) == []
