"""The parser of one step of a saga's manifest, and of its compensation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.manifests import bindings, cel
from domain.manifests.definition import Binding, Compensation, Policy, StepDefinition, StepKind
from domain.manifests.reasoning_parser import read_reasoning, read_undo_reasoning
from domain.pauses import approval_policy
from domain.pauses.pause import OnTimeout
from domain.values.errors import Invalid
from domain.values.field_reader import FieldReader, named

# A week: longer than any execution, and short enough for a timer.
MAX_TIMEOUT = 604_800
# Ten years, as for a pause.
MAX_HITL_TIMEOUT = 315_360_000
DEFAULT_TIMEOUT = 600.0
DEFAULT_TURNS = 10
MAX_TURNS = 200
MAX_RETRIES = 1_000
MAX_GUIDANCE = 4_096
# The names of the context, with which a path begins.
_ROOTS = ("input", "steps")
_HITL_ONLY = ("hitl_max_retries", "hitl_retry_guidance", "review", "hitl_timeout_seconds", "hitl_on_timeout")
_REASON_ONLY = (
    *("prompt", "agent-adapter", "resources", "facts", "output_schema"),
    *("max_turns", "max_step_tokens", "keep_transcript", "mock"),
)
# Fields of an undo by a model.
_MODEL_ONLY = ("max_step_tokens", "keep_transcript", "mock")
_TOOL_SCHEMA = "is not used: the tool server's own schema applies, so remove it and use a policy for further rules"
_STEP_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class VisibleSteps:
    """The ids of steps for paths: `known` are all steps of the saga, `before` are those that have run by then."""

    known: tuple[str, ...]
    before: tuple[str, ...]


def read_step(fields: FieldReader, places: VisibleSteps) -> StepDefinition:
    with fields:
        kind = fields.one_of("kind", StepKind, required=True)
        id_ = fields.text("id", required=True) or ""
        if id_ and not _STEP_ID.fullmatch(id_):
            fields.field_error(
                "id", "must be 1 to 64 letters, digits, hyphens and underscores, and begin with a letter or _"
            )
        with_ = _bindings(fields, places, _ROOTS)
        tools = _tools(fields)
        timeout = fields.number("timeout_seconds", 0.001, MAX_TIMEOUT)
        if kind is StepKind.REASON:
            fields.refuse(("idempotent",), "is valid only for a commit step: remove it")
        else:
            fields.refuse(_REASON_ONLY, "is valid only for a reason step: remove it")
        if kind is StepKind.COMMIT and len(tools) != 1:
            fields.field_error("tools.allow", f"names {len(tools)} tools: name exactly one for a commit step")
        return StepDefinition(
            id=id_,
            name=fields.text("name", most=200) or id_,
            kind=kind or StepKind.COMMIT,
            worker=fields.name("worker"),
            worker_version=fields.name("worker_version"),
            bindings=with_,
            when=_when(fields),
            policy=_policy(fields),
            **_hold(fields),
            undo=_undo(fields, VisibleSteps(places.known, (*places.before, id_))),
            timeout_seconds=DEFAULT_TIMEOUT if timeout is None else timeout,
            tool=tools[0] if tools and kind is StepKind.COMMIT else None,
            idempotent=fields.yes("idempotent") if kind is StepKind.COMMIT else None,
            reasoning=read_reasoning(fields, tools, with_) if kind is StepKind.REASON else None,
        )


def _bindings(fields: FieldReader, places: VisibleSteps, roots: tuple[str, ...]) -> Mapping[str, Binding]:
    found: dict[str, Binding] = {}
    for name, value in fields.mapping("with").items():
        place = f"with.{name}"
        if not isinstance(value, dict) or ("from" in value) is ("value" in value):
            fields.field_error(place, 'must be {from: "$.input…"} or {value: …}')
            continue
        with fields.within(place, value) as inner:
            if "value" in value:
                inner.refuse(("required",), "is valid only beside from, because a value is never missing: remove it")
                found[name] = Binding(value=inner.raw("value"))
                continue
            path, required = inner.raw("from"), inner.yes("required")
            if not isinstance(path, str):
                inner.field_error("from", "is not a JSONPath")
            elif (message := bindings.path_error(path) or _place_error(path, places, roots)) is not None:
                inner.field_error("from", message)
            else:
                found[name] = Binding(path, required=required)
    return found


def _place_error(path: str, places: VisibleSteps, roots: tuple[str, ...]) -> str | None:
    """Return why the path leads nowhere, or None. Such a path would silently give null."""
    names = bindings.names_of(path)
    if not names:
        return None
    if names[0] not in roots:
        return f"must begin with one of {', '.join(f'$.{root}' for root in roots)}"
    if names[0] != "steps" or len(names) == 1 or names[1] in places.before:
        return None
    return f"names the step {names[1]!r}, which " + (
        "has not run by then" if names[1] in places.known else "does not exist"
    )


def _tools(fields: FieldReader) -> tuple[str, ...]:
    inner = fields.inner("tools")
    if inner is None:
        return ()
    with inner:
        return named(inner, "allow", "name", ("strict_schema", "output_schema"), _TOOL_SCHEMA)


def _when(fields: FieldReader) -> str | None:
    inner = fields.inner("when")
    if inner is None:
        return None
    with inner:
        text = inner.text("cel", required=True)
        return inner.checked("cel", text, lambda text: cel.compile_error(text, cel.WHEN_NAMES))


def _policy(fields: FieldReader) -> Policy | None:
    inner = fields.inner("policy")
    if inner is None:
        return None
    with inner:
        name = inner.text("name", most=500) or "policy"
        inner.label("version")
        return Policy(name, inner.checked("cel", inner.text("cel", required=True), cel.compile_error) or "")


def _hold(fields: FieldReader) -> dict[str, Any]:
    hitl = fields.yes("hitl")
    if not fields.has("hitl"):
        for name in _HITL_ONLY:
            if fields.has(name):
                fields.field_error(name, "applies only to a held step: set hitl to true")
    on_timeout = fields.one_of("hitl_on_timeout", OnTimeout)
    policy = _review(fields)
    if on_timeout is OnTimeout.ESCALATE and not (policy or {}).get("escalate"):
        fields.field_error("hitl_on_timeout", "needs someone to escalate to: add escalate.to to the review")
    return {
        "hitl": bool(hitl),
        "hitl_max_retries": fields.whole("hitl_max_retries", 0, MAX_RETRIES),
        "hitl_retry_guidance": fields.text("hitl_retry_guidance", most=MAX_GUIDANCE),
        "review": policy,
        "hitl_timeout_seconds": fields.number("hitl_timeout_seconds", 1, MAX_HITL_TIMEOUT),
        "hitl_on_timeout": on_timeout or OnTimeout.EXPIRE,
    }


def _review(fields: FieldReader) -> Mapping[str, Any] | None:
    value = fields.raw("review")
    if value is None:
        return None
    if not isinstance(value, dict):
        fields.field_error("review", "is not an object")
        return None
    try:
        approval_policy.parse(value)
    except Invalid as invalid:
        for field_error in invalid.field_errors:
            fields.field_error(field_error.path, field_error.message)
    return value


def _undo(outer: FieldReader, places: VisibleSteps) -> Compensation | None:
    fields = outer.inner("compensation")
    return None if fields is None else read_undo(fields, places)


def read_undo(fields: FieldReader, places: VisibleSteps) -> Compensation:
    with fields:
        tools = _undo_tools(fields)
        timeout = fields.number("timeout_seconds", 0.001, MAX_TIMEOUT)
        one_call = len(tools) == 1
        if one_call:
            # The field has no effect here, but the undo files of other systems always have it.
            fields.whole("max_turns", 1, MAX_TURNS)
            fields.refuse(_MODEL_ONLY, "is valid only for an undo by a model, which has several tools: remove it")
        return Compensation(
            worker=fields.name("worker"),
            worker_version=fields.name("worker_version"),
            bindings=_bindings(fields, places, (*_ROOTS, "_compensation")),
            tools=tools,
            timeout_seconds=DEFAULT_TIMEOUT if timeout is None else timeout,
            tool=tools[0] if one_call else None,
            reasoning=None if one_call else read_undo_reasoning(fields, tools),
        )


def _undo_tools(fields: FieldReader) -> tuple[str, ...]:
    """Read the tools, as in a step (`tools: {allow: [cancel]}`) or as a list (`tools: [cancel]`)."""
    as_list = isinstance(fields.raw("tools"), list)
    refused = ("strict_schema", "output_schema")
    tools = named(fields, "tools", "name", refused, _TOOL_SCHEMA) if as_list else _tools(fields)
    if not tools and fields.is_object:
        fields.field_error("tools", "names no tool: name one for the undo to call, or several for a model")
    return tools
