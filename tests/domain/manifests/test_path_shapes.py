"""A deploy reports each path that can only give null, and no path that may have a value."""

from typing import Any

import pytest

from domain.manifests.deploy_checks import field_errors
from domain.manifests.manifest import parse, parse_saga

WORKER = {"worker": "w", "worker_version": "1"}
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"$ref": "#/$defs/A"},
        "either": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
        "nothing": {"type": "null"},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
        "open": {"type": "object"},
        "one": {"enum": [{"x": 1}, {"y": None}]},
    },
    "additionalProperties": False,
    "$defs": {"A": {"type": "object", "properties": {"b": {"type": "integer"}}, "additionalProperties": False}},
}
FACTS = [
    {"name": "whole", "tool": "look", "from": "$"},
    {"tool": "look", "into": "group", "fields": {"total": "$.total"}},
]


def _saga(path: str, *, undo: bool = False, schema: Any = None, **more: Any) -> dict[str, Any]:
    binding = {"with": {"it": {"from": path}}}
    ask_model = {"id": "think", "kind": "reason", **WORKER, "prompt": {"inline": "x"}, "tools": {"allow": ["look"]}}
    act = {"id": "charge", "kind": "commit", **WORKER, "tools": {"allow": ["charge"]}}
    last = {"id": "last", "kind": "commit", **WORKER, "tools": {"allow": ["tell"]}}
    last |= {"compensation": {**WORKER, "tools": ["untell"], **binding}} if undo else binding
    steps = [ask_model | {"output_schema": schema or CLOSED, "facts": FACTS}, act, last]
    return {"kind": "saga", "name": "s", "version": "1", "steps": steps, **more}


def _told(document: dict[str, Any]) -> dict[str, str]:
    return {field_error.path: field_error.message for field_error in field_errors(parse(document))}


@pytest.mark.parametrize(
    "path",
    [
        "$.steps.charge.output.id",
        "$.steps.charge.output.result.id",
        "$.steps['charge']['output']['id']",
        "$.steps.charge.output[0]",
        "$.steps.charge.data.id",
        "$.steps.charge.result",
        "$.steps.charge.facts.id",
        "$.steps.*.output.id",
        "$.steps[?@.output].id",
        "$.steps.think.output.text",
        "$.steps.think.facts.total",
        "$.steps.think.facts.group.totals",
        "$.steps.think.output.data.z",
        "$.steps.think.output.data.a.z",
        "$.steps.think.output.data.a.b.c",
        "$.steps.think.output.data.either.z",
        "$.steps.think.output.data.nothing",
        "$.steps.think.output.data.nothing.more",
        "$.steps.think.output.data.pair[1]",
        "$.steps.think.output.data.pair[0].x",
        "$.steps.think.output.data.pair.x",
        "$.steps.think.output.data[0]",
        "$.steps.think.output.data.one.z",
        "$.steps.think.output.data.one.y",
        "$.steps.think.output.data.a..z",
    ],
)
def test_nothing_can_be_there(path: str) -> None:
    told = _told(_saga(path))
    assert list(told) == ["steps[2].with.it.from"]
    assert told["steps[2].with.it.from"].startswith("can only be null: ")
    # One that runs already can be read as before.
    assert parse_saga(_saga(path)).steps[2].bindings["it"].path == path


@pytest.mark.parametrize(
    "path",
    [
        "$.input",
        "$.input.anything[3].deep",
        "$.steps",
        "$.steps.charge",
        "$.steps.charge.output",
        "$.steps.charge.output.data",
        "$.steps.charge.output.data.id",
        "$.steps.charge.output.data[0]['x y']",
        "$.steps.charge.facts",
        "$.steps.*.output.data.id",
        "$.steps..id",
        "$.steps.think.output.data.a.b",
        "$.steps.think.output.data.either.b",
        "$.steps.think.output.data.pair[0]",
        "$.steps.think.output.data.pair[-1]",
        "$.steps.think.output.data.open.whatever",
        "$.steps.think.output.data.one.x",
        "$.steps.think.output.data[*]",
        "$.steps.think.output.data.a..b",
        "$.steps.think.facts.whole.items[0]",
        "$.steps.think.facts.group.total",
    ],
)
def test_something_may_be_there(path: str) -> None:
    assert _told(_saga(path)) == {}


@pytest.mark.parametrize(
    ("path", "field_error"),
    [
        ("$.steps.last.output.id", True),
        ("$.steps.last.output.data.id", False),
        ("$._compensation.idempotency_key", False),
        ("$._compensation", False),
        ("$._compensation.key", True),
        ("$._compensation.idempotency_key.x", True),
    ],
)
def test_an_undo(path: str, field_error: bool) -> None:
    assert list(_told(_saga(path, undo=True))) == (["steps[2].compensation.with.it.from"] if field_error else [])


def test_what_is_meant_is_said() -> None:
    (told,) = _told(_saga("$.steps.charge.output.id")).values()
    assert told == (
        "can only be null: $.steps.charge.output has no id (it has data); a step's answer is below"
        " $.steps.charge.output.data: try $.steps.charge.output.data.id"
    )


@pytest.mark.parametrize(
    ("schema", "path", "field_error"),
    [
        ({"type": "object"}, "$.input.order", False),
        ({"type": "object", "properties": {"order": {}}, "additionalProperties": False}, "$.input.order", False),
        ({"type": "object", "properties": {"order": {}}, "additionalProperties": False}, "$.input.ordr", True),
        ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, "$.input.a", False),
        ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, "$.input.b", True),
        ({"patternProperties": {"^x-": {}}, "additionalProperties": False}, "$.input['x-a']", False),
        ({"patternProperties": {"^x-": {}}, "additionalProperties": False}, "$.input.y", True),
        (
            {"$ref": "#/$defs/I", "$defs": {"I": {"properties": {"a": {}}, "additionalProperties": False}}},
            "$.input.b",
            True,
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "$ref": "#/definitions/I",
                "additionalProperties": False,
                "definitions": {"I": {"properties": {"a": {}}}},
            },
            "$.input.a",
            False,
        ),
        (
            {"oneOf": [{"required": ["a"]}, {"properties": {"b": {}}, "additionalProperties": False}]},
            "$.input.a",
            False,
        ),
    ],
)
def test_by_the_schema_of_the_input(schema: dict[str, Any], path: str, field_error: bool) -> None:
    assert list(_told(_saga(path, input_schema=schema))) == (["steps[2].with.it.from"] if field_error else [])


@pytest.mark.parametrize(
    ("text", "found", "wanted"),
    [
        ("Bearer ${TOKEN}", "${TOKEN}", "${ENV:TOKEN}"),
        ("Bearer ${env:TOKEN}", "${env:TOKEN}", "${ENV:TOKEN}"),
        ("Bearer ${env:api_token}", "${env:api_token}", "${ENV:api_token}"),
        ("${Env:TOKEN}", "${Env:TOKEN}", "${ENV:TOKEN}"),
        ("${ ENV:TOKEN }", "${ ENV:TOKEN }", "${ENV:TOKEN}"),
        ("${ENV: TOKEN}", "${ENV: TOKEN}", "${ENV:TOKEN}"),
        ("${ENV :TOKEN}", "${ENV :TOKEN}", "${ENV:TOKEN}"),
        ("${ env.TOKEN }", "${ env.TOKEN }", "${ENV:TOKEN}"),
        ("${ENV_TOKEN}", "${ENV_TOKEN}", "${ENV:ENV_TOKEN}"),
        ("${ENVIRONMENT}", "${ENVIRONMENT}", "${ENV:ENVIRONMENT}"),
        ("${TOKEN:-none}", "${TOKEN:-none}", "${ENV:TOKEN}"),
        ("${ENV:TOKEN:-none}", "${ENV:TOKEN:-none}", "${ENV:TOKEN}"),
        ("${secrets.TOKEN}", "${secrets.TOKEN}", "${ENV:TOKEN}"),
        ("${{ env.TOKEN }}", "${{ env.TOKEN }}", "${ENV:TOKEN}"),
        ("{{ env.TOKEN }}", "{{ env.TOKEN }}", "${ENV:TOKEN}"),
        ("$(TOKEN)", "$(TOKEN)", "${ENV:TOKEN}"),
        ("$ENV:TOKEN", "$ENV:TOKEN", "${ENV:TOKEN}"),
        ("$env:TOKEN", "$env:TOKEN", "${ENV:TOKEN}"),
        ("$ENV{TOKEN}", "$ENV{TOKEN}", "${ENV:TOKEN}"),
        ("{ENV:TOKEN}", "{ENV:TOKEN}", "${ENV:TOKEN}"),
        ("Bearer $TOKEN", "$TOKEN", "${ENV:TOKEN}"),
        ("%TOKEN%", "%TOKEN%", "${ENV:TOKEN}"),
        ("${ENV:A} ${env:TOKEN}", "${env:TOKEN}", "${ENV:TOKEN}"),
        ("${ENV:}", "${ENV:}", "${ENV:NAME}"),
        ("${env:}", "${env:}", "${ENV:NAME}"),
        ("${}", "${}", "${ENV:NAME}"),
        ("${ENV:1}", "${ENV:1}", "${ENV:NAME}"),
        ("${ENV:MY-TOKEN}", "${ENV:MY-TOKEN}", "${ENV:NAME}"),
        ("${ENV", "${ENV", "${ENV:NAME}"),
        ("${env:TOKEN", "${env:TOKEN", "${ENV:TOKEN}"),
    ],
)
def test_a_variable_written_as_others_write_it(text: str, found: str, wanted: str) -> None:
    """It would be sent unchanged, as the password. The same is true of a program's arguments and environment."""
    head = {"kind": "worker", "name": "w", "version": "1"}
    of_http = {"name": "x", "transport": "sse", "url": "http://x", "headers": {"Authorization": text}}
    advice = f"has {found}, which is not replaced: write {wanted}"
    assert _told(head | {"tool_sources": [of_http]}) == {"tool_sources[0].headers.Authorization": advice}
    if " " not in text:
        of_url = {"name": "x", "transport": "sse", "url": f"http://x/?a=1&b={text}"}
        assert _told(head | {"tool_sources": [of_url]}) == {"tool_sources[0].url": advice}
    if "ENV" in text.upper() and text not in ("{{ env.TOKEN }}", "$ENV{TOKEN}"):
        of_stdio = {"name": "x", "transport": "stdio", "command": "x", "env": {"TOKEN": text}, "args": ["x", text]}
        told = _told(head | {"tool_sources": [of_stdio]})
        assert told == {"tool_sources[0].env.TOKEN": advice, "tool_sources[0].args[1]": advice}


@pytest.mark.parametrize(
    "text",
    [
        "${ENV:TOKEN}",
        "a$b",
        "Basic $2y$10$abc",
        "100%",
        "50% of $5",
        "{json}",
        "a%20b%20c",
        "$",
        "${ENV:A}${ENV:B}",
        "p$$w",
    ],
)
def test_what_is_no_variable_stays(text: str) -> None:
    source = {"name": "x", "transport": "sse", "url": "http://x", "headers": {"A": text}}
    assert _told({"kind": "worker", "name": "w", "version": "1", "tool_sources": [source]}) == {}


def test_a_programs_own_variables_stay() -> None:
    """A shell expands them, and a template of the program's own is none of ours."""
    args = ["-c", "echo ${TOKEN} $TOKEN $(id) {{ name }} %TOKEN%"]
    source = {"name": "x", "transport": "stdio", "command": "sh", "args": args, "env": {"PROMPT": "$HOME ${X}"}}
    assert _told({"kind": "worker", "name": "w", "version": "1", "tool_sources": [source]}) == {}


@pytest.mark.parametrize(
    ("text", "field_error"),
    [
        ("steps.charge.output.data.id == 'x'", None),
        ("has(steps.think.facts.group) && steps.think.facts.group.total > 0", None),
        ("steps.think.output.data.a.b > 1 && input.whatever", None),
        ("steps.exists(s, s == 'charge')", None),
        ("steps.charge.output.id == 'x'", "steps.charge.output has no id (it has data); a step's answer is below"),
        ("steps['charge'].output['id'] == 'x'", "steps.charge.output has no id"),
        ("steps.think.facts.totals > 1", "steps.think.facts has no totals (it has group, whole)"),
        ("steps.think.output.data.z", "steps.think.output.data has no z"),
        ("steps.last.output.data.ok", "steps has no last (it has charge, think)"),
        ("has(steps.nobody) || true", "steps has no nobody"),
    ],
)
def test_what_a_when_reads(text: str, field_error: str | None) -> None:
    document = _saga("$.input.x")
    document["steps"][2]["when"] = {"cel": text}
    told = _told(document)
    if field_error is None:
        assert told == {}
    else:
        assert field_error in told["steps[2].when.cel"]


def test_what_a_when_reads_of_an_input_with_a_schema() -> None:
    document = _saga("$.input", input_schema={"properties": {"a": {}}, "additionalProperties": False})
    document["steps"][2]["when"] = {"cel": "input.a == 1 || input.b == 2"}
    assert _told(document) == {"steps[2].when.cel": "reads a value that cannot exist: input has no b (it has a)"}


def test_an_expression_that_can_only_fail() -> None:
    """One that runs already can be read as before: its step fails, as it did."""
    document = _saga("$.input.x")
    document["steps"][0]["policy"] = {"name": "p", "cel": "size(phase, 1) > 2"}
    document["steps"][2]["when"] = {"cel": "input.x.matches('(')"}
    assert list(_told(document)) == ["steps[0].policy.cel", "steps[2].when.cel"]
