"""The door of a pause, out of what an agent wrote."""

from typing import Any

import pytest

from domain.pauses.door import TITLES, door_label, door_of, object_in


@pytest.mark.parametrize("name", [*TITLES, "a", "x" * 40, "my-client-2"])
def test_a_name_is_a_door(name: str) -> None:
    assert door_of({"door": name, "client": {}}) == name


@pytest.mark.parametrize(
    "value", [None, "", "MCP", "x" * 41, "a b", "mcp\n", "é", "\u0661", "\u202e", 7, True, ["mcp"], {"name": "mcp"}]
)
def test_anything_else_is_none(value: Any) -> None:
    assert door_of({"door": value}) is None


def test_no_metadata_has_no_door() -> None:
    assert (door_of(None), door_of({}), door_of({"Door": "mcp"})) == (None, None, None)


def test_labels_are_bounded() -> None:
    assert [door_label(door) for door in (None, "mcp", "my-client")] == ["api", "mcp", "other"]


@pytest.mark.parametrize(
    ("metadata", "found"),
    [({"client": {"tool": "x"}}, {"tool": "x"}), ({"client": ["x"]}, {}), ({"client": None}, {}), ({}, {}), (None, {})],
)
def test_an_object_of_the_metadata(metadata: dict[str, Any] | None, found: dict[str, Any]) -> None:
    assert object_in(metadata, "client") == found
