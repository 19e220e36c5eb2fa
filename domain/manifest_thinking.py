"""What only a reason step of a manifest has: its prompt, its tools and the shape of its answer."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from jinja2 import TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from domain import answer, bindings
from domain.definition import Thinking
from domain.manifest_fields import Fields

MAX_PROMPT = 65_536
MAX_FACTS = 100
# Steps that a person would still wait for.
MAX_TURNS = 200
DEFAULT_TURNS = 10
MAX_TOKENS = 100_000_000
# What a prompt may name beside `with`: what the reviewer said when a step runs again, empty before.
PROMPT_NAMES = frozenset({"guidance"})
_environment = ImmutableSandboxedEnvironment()


class Adapter(StrEnum):
    """react: a loop of tool calls that ends with its submission. simple: one structured answer, no tools."""

    REACT = "react"
    SIMPLE = "simple"


def read_thinking(fields: Fields, tools: tuple[str, ...], given: Collection[str]) -> Thinking:
    adapter = fields.one_of("agent-adapter", Adapter) or Adapter.REACT
    prompt, reference = _prompt(fields, given)
    turns = fields.whole("max_turns", 1, MAX_TURNS)
    if adapter is Adapter.SIMPLE:
        if tools:
            fields.fault("tools.allow", "has a meaning only for the react adapter: simple uses no tools")
        if turns is not None:
            fields.fault("max_turns", "has a meaning only for the react adapter: simple answers once")
    return Thinking(
        prompt=prompt,
        prompt_ref=reference,
        adapter=str(adapter),
        tools=tools,
        resources=_resources(fields),
        facts=_facts(fields),
        output_schema=_output_schema(fields),
        max_turns=turns or DEFAULT_TURNS,
        max_step_tokens=fields.whole("max_step_tokens", 1, MAX_TOKENS),
        keep_transcript=bool(fields.yes("keep_transcript")),
    )


def prompt_fault(text: str, given: Collection[str]) -> str | None:
    """Why this template cannot be used with these names, or None."""
    try:
        parsed = _environment.parse(text)
        _environment.compile(parsed)
        if any(meta.find_referenced_templates(parsed)):
            return "includes another template: write it out"
        missing = meta.find_undeclared_variables(parsed) - set(given) - PROMPT_NAMES
    except (TemplateError, RecursionError, ValueError) as error:
        return f"is not a Jinja template: {(str(error).splitlines() or [''])[0][:200]}"
    if missing:
        names = ", ".join(f"{{{{ {name} }}}}" for name in sorted(missing))
        return f"uses {names[:500]}, which `with` does not give"
    return None


def _prompt(fields: Fields, given: Collection[str]) -> tuple[str, str]:
    inner = fields.inner("prompt", required=True)
    if inner is None:
        return "", ""
    with inner:
        text = inner.text("inline", required=True, most=MAX_PROMPT)
        inner.checked("inline", text, lambda template: prompt_fault(template, given))
        return text or "", inner.text("ref", most=500) or "inline"


def _resources(fields: Fields) -> tuple[str, ...]:
    inner = fields.inner("resources")
    if inner is None:
        return ()
    with inner:
        return inner.unique_texts("allow")


def _facts(fields: Fields) -> tuple[Mapping[str, Any], ...]:
    found: list[Mapping[str, Any]] = []
    for fact in fields.objects("facts"):
        with fact:
            name = fact.name("name")
            path = fact.checked("from", fact.text("from", required=True), bindings.path_fault)
            if name and any(known["name"] == name for known in found):
                fact.fault("name", f"{name!r} stands there twice")
            found.append({"name": name, "from": path})
    if len(found) > MAX_FACTS:
        fields.fault("facts", f"has more than {MAX_FACTS} items")
    return tuple(found)


def _output_schema(fields: Fields) -> Mapping[str, Any] | None:
    value = fields.raw("output_schema")
    if value is None:
        return None
    if not isinstance(value, dict):
        fields.fault("output_schema", "is not a JSON Schema: an object is one")
        return None
    for fault in answer.schema_faults(value, fields.at("output_schema")):
        fields.fault("output_schema", fault.message)
    return value
