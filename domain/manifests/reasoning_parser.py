"""The fields that only a reason step of a manifest has: its prompt, its tools and the schema of its answer."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from domain.manifests import bindings
from domain.manifests.definition import Adapter, Fact, MockTurn, Reasoning
from domain.manifests.prompts import GUIDANCE, prompt_error
from domain.manifests.resources import pattern_error
from domain.values import json_schema
from domain.values.field_reader import NAME, NAME_RULE, FieldReader, named

MAX_PROMPT = 65_536
MAX_FACTS = 100
# A person would still wait for a step with this many turns.
MAX_TURNS = 200
DEFAULT_TURNS = 10
MAX_TOKENS = 100_000_000
# Seconds that the mock may take for one answer. A real model takes seconds.
MAX_WAIT = 600
DEFAULT_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
    "additionalProperties": False,
}
# The answer of a model that undoes a step.
UNDO_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "undone": {"type": "boolean", "description": "true also if there was nothing to undo"},
        "summary": {"type": "string", "description": "what you found and did"},
    },
    "required": ["undone", "summary"],
    "additionalProperties": False,
}
# Tools that every model has beside those of its step.
READ_RESOURCE, SUBMIT = "read_resource", "_submit"
_REACT_ONLY = ("resources", "facts", "max_turns")


def read_reasoning(fields: FieldReader, tools: tuple[str, ...], arguments: Collection[str]) -> Reasoning:
    adapter = fields.one_of("agent-adapter", Adapter) or Adapter.REACT
    if GUIDANCE in arguments:
        fields.field_error(f"with.{GUIDANCE}", "is reserved for the reviewer's guidance: use another name")
    prompt, reference = _prompt(fields, arguments)
    _check_tools(fields, adapter, tools)
    resources = _resources(fields, arguments)
    callable_ = (*tools, READ_RESOURCE) if resources else tools
    return Reasoning(
        prompt=prompt,
        prompt_ref=reference,
        adapter=adapter,
        tools=tools,
        resources=resources,
        facts=_facts(fields, tools),
        output_schema=_output_schema(fields),
        **_limits(fields),
        script=_script(fields, callable_),
    )


def read_undo_reasoning(fields: FieldReader, tools: tuple[str, ...]) -> Reasoning:
    """Read the fields of an undo by a model. The worker's `compensation_prompt` is its prompt."""
    return Reasoning(
        prompt="",
        prompt_ref="compensation_prompt",
        adapter=Adapter.REACT,
        tools=tools,
        resources=(),
        facts=(),
        output_schema=UNDO_SCHEMA,
        **_limits(fields),
        script=_script(fields, tools),
    )


def _limits(fields: FieldReader) -> dict[str, Any]:
    return {
        "max_turns": fields.whole("max_turns", 1, MAX_TURNS) or DEFAULT_TURNS,
        "max_step_tokens": fields.whole("max_step_tokens", 1, MAX_TOKENS),
        "keep_transcript": bool(fields.yes("keep_transcript")),
    }


def _check_tools(fields: FieldReader, adapter: Adapter, tools: tuple[str, ...]) -> None:
    for index, tool in enumerate(tools):
        if tool in (READ_RESOURCE, SUBMIT):
            fields.field_error(f"tools.allow[{index}]", "is the name of a tool that every model has: rename it")
    if adapter is Adapter.REACT:
        return
    if tools:
        fields.field_error("tools.allow", "is valid only for the react adapter: simple calls no tools")
    for name in _REACT_ONLY:
        if fields.has(name):
            fields.field_error(name, "is valid only for the react adapter: simple answers once and calls no tools")


def _prompt(fields: FieldReader, arguments: Collection[str]) -> tuple[str, str]:
    inner = fields.inner("prompt", required=True)
    if inner is None:
        return "", ""
    with inner:
        text = inner.text("inline", required=True, most=MAX_PROMPT)
        inner.checked("inline", text, lambda template: prompt_error(template, arguments))
        return text or "", inner.text("ref", most=500) or "inline"


def _resources(fields: FieldReader, arguments: Collection[str]) -> tuple[str, ...]:
    inner = fields.inner("resources")
    if inner is None:
        return ()
    with inner:
        patterns = named(inner, "allow", "uri")
        for index, pattern in enumerate(patterns):
            if (message := pattern_error(pattern, arguments)) is not None:
                inner.field_error(f"allow[{index}]", message)
        return patterns


def _facts(fields: FieldReader, tools: tuple[str, ...]) -> tuple[Fact, ...]:
    """Read facts, each `{name, tool, from}` or a group of one tool's facts, `{tool, into, fields: {name: path}}`."""
    found: list[Fact] = []
    names: list[str] = []
    for fact in fields.objects("facts"):
        with fact:
            grouped = fact.has("into") or fact.has("fields")
            key = "into" if grouped else "name"
            name = fact.name(key)
            if name and name in names:
                fact.field_error(key, f"{name!r} is a duplicate: use another name")
            names.append(name)
            tool = fact.text("tool", required=True)
            if tool is not None and tool not in tools:
                fact.field_error("tool", "is not in tools.allow, so it is never called: add it there")
            if grouped:
                fact.refuse(("name", "from"), "is not valid beside into: a group has its paths in fields")
                found += _group(fact, name, tool or "")
            else:
                path = fact.checked("from", fact.text("from", required=True), bindings.path_error)
                found.append(Fact(name, tool or "", path or ""))
    if len(found) > MAX_FACTS:
        fields.field_error("facts", f"has more than {MAX_FACTS} items")
    return tuple(found)


def _group(fields: FieldReader, into: str, tool: str) -> Iterator[Fact]:
    paths = fields.mapping("fields")
    if not paths and fields.is_object:
        fields.field_error("fields", "is empty: write {name: a JSONPath into the tool's answer}")
    for name, path in paths.items():
        message = bindings.path_error(path) if isinstance(path, str) else "is not a JSONPath"
        if message is None and not NAME.fullmatch(name):
            message = f"does not have a valid name: {NAME_RULE}"
        if message is not None:
            fields.field_error(f"fields.{name}", message)
        yield Fact(name, tool, path if isinstance(path, str) else "", into)


def schema_for(wanted: Collection[str]) -> Mapping[str, Any]:
    """Return the schema of an answer whose own schema is omitted, if later steps read these fields."""
    return {"type": "object", "properties": {name: {} for name in sorted(wanted)}, "required": sorted(wanted)}


def _output_schema(fields: FieldReader) -> Mapping[str, Any]:
    value = fields.raw("output_schema")
    if value is None:
        return DEFAULT_SCHEMA
    if not isinstance(value, dict):
        fields.field_error("output_schema", "is not a JSON Schema: give an object")
        return DEFAULT_SCHEMA
    found = list(json_schema.schema_errors(value, "output_schema"))
    for field_error in found:
        fields.field_error(field_error.path, field_error.message)
    if not found and not json_schema.is_of_object(value):
        fields.field_error("output_schema", "must have type: object at its top, because models answer with objects")
    return value


def _script(fields: FieldReader, tools: tuple[str, ...]) -> tuple[MockTurn, ...]:
    turns = list(fields.objects("mock"))
    return tuple(_turn(turn, tools, is_last=turn is turns[-1]) for turn in turns)


def _turn(fields: FieldReader, tools: tuple[str, ...], *, is_last: bool) -> MockTurn:
    with fields:
        wait = fields.number("after_seconds", 0, MAX_WAIT) or 0.0
        if fields.has("submit"):
            fields.refuse(("call", "arguments"), "is not valid beside submit: a turn is one or the other")
            if not is_last:
                fields.field_error("submit", "ends the step, so it must be the last turn")
            return MockTurn(None, fields.mapping("submit"), wait)
        tool = fields.text("call", required=True)
        if tool is not None and tool not in tools:
            fields.field_error("call", f"is not one of the step's tools: {', '.join(tools) or 'it has none'}")
        return MockTurn(tool or "", fields.mapping("arguments"), wait)
