"""The fields that a schema names, and bindings that find nothing."""

from domain.manifests.bindings import missing
from domain.manifests.definition import Binding
from domain.values.json_schema import names


def test_the_fields_of_a_schema_with_parts() -> None:
    schema = {
        "properties": {"a": {}},
        "allOf": [{"properties": {"b": {}}}, True],
        "$ref": "#/$defs/c",
        "$defs": {"c": {"properties": {"c": {}}}},
    }
    assert names(schema) == {"a", "b", "c"}


def test_a_required_binding_that_finds_nothing_is_named() -> None:
    bindings = {"it": Binding(path="$.input.it", required=True), "more": Binding(path="$.input.more", required=False)}
    assert missing(bindings, {"it": 0}) is None
    found = missing(bindings, {"more": 1})
    assert found is not None
    assert (found.path, found.message) == ("with.it", "is required, and there is nothing at $.input.it")
