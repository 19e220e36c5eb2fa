"""The content of a manifest: the whole of it once, and every field error with its place."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from domain.manifests.definition import Adapter, Binding, Compensation, Fact, MockTurn, Policy, StepKind, Transport
from domain.manifests.manifest import parse, parse_saga, parse_worker, stored
from domain.pauses.pause import OnTimeout
from domain.values import json_schema
from domain.values.errors import InvalidManifest, NotUnderstood

WORKER: dict[str, Any] = {
    "kind": "worker",
    "name": "thinker",
    "namespace": "shop",
    "version": "1.0",
    "description": "thinks",
    "provider": "openai",
    "model_name": "small",
    "temperature": 0.5,
    "system_prompt": "Be kind.",
    "compensation_prompt": "Undo it.",
    "tool_sources": [
        {"name": "web", "transport": "streamable_http", "url": "https://${ENV:HOST}/mcp", "headers": {"X-A": "b"}},
        {"name": "old", "transport": "sse", "url": "${ENV:URL}"},
        {
            "name": "local",
            "transport": "stdio",
            "command": "python",
            "args": ["-m", "x"],
            "cwd": "/srv",
            "env": {"A": "${ENV:A}"},
            "env_inherit": ["PATH"],
        },
    ],
}
REASON: dict[str, Any] = {
    "id": "think",
    "name": "Think it over",
    "kind": "reason",
    "worker": "thinker",
    "worker_version": "1.0",
    "with": {"name": {"from": "$.input.name"}, "limit": {"value": 5}},
    "when": {"cel": "input.amount > 1"},
    "policy": {"name": "short", "cel": "size(output.text) < 100"},
    "hitl": True,
    "hitl_max_retries": 3,
    "hitl_retry_guidance": "Be shorter.",
    "review": {"approvals": 1},
    "hitl_timeout_seconds": 3600,
    "hitl_on_timeout": "reject",
    "timeout_seconds": 30,
    "prompt": {
        "inline": "Greet {{ name }} {% for n in range(limit) %}{{ n }}{% endfor %} {{ guidance }}",
        "ref": "x.j2",
    },
    "agent-adapter": "react",
    "tools": {"allow": ["search", "read"]},
    "resources": {"allow": ["docs://all", "docs://{name}/**"]},
    "facts": [{"name": "id", "tool": "search", "from": "$.id"}],
    "output_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
    "max_turns": 20,
    "max_step_tokens": 1000,
    "keep_transcript": True,
    "mock": [
        {"call": "search", "arguments": {"q": "x"}, "after_seconds": 0.5},
        {"call": "read_resource", "arguments": {"uri": "docs://all"}},
        {"submit": {"text": "Hello"}},
    ],
}
COMMIT: dict[str, Any] = {
    "id": "pay",
    "kind": "commit",
    "worker": "thinker",
    "worker_version": "1.0",
    "with": {"text": {"from": "$.steps.think.output.data.text"}},
    "tools": {"allow": ["pay"]},
    "idempotent": False,
    "compensation": {
        "worker": "thinker",
        "worker_version": "1.0",
        "with": {"id": {"from": "$.steps.pay.output.data.id"}, "key": {"from": "$._compensation.idempotency_key"}},
        "tools": ["cancel"],
        "timeout_seconds": 5,
        "max_turns": 2,
    },
}
# Changes that remove every key that a simple step may not have.
SIMPLE: dict[str, Any] = {"agent_adapter": "simple"} | dict.fromkeys(
    ("tools", "resources", "facts", "max_turns", "mock"), ...
)
SAGA: dict[str, Any] = {"kind": "saga", "name": "s", "version": "1", "steps": [REASON, COMMIT]}


def _field_errors(document: object) -> dict[str, str]:
    with pytest.raises(InvalidManifest) as caught:
        parse(document)
    return {field_error.path: field_error.message for field_error in caught.value.field_errors}


def _changed(step: int, **changes: Any) -> dict[str, Any]:
    """The saga with changes of one step; an Ellipsis takes a field away."""
    document = deepcopy(SAGA)
    for name, value in changes.items():
        field = name.replace("agent_adapter", "agent-adapter").removesuffix("_")
        document["steps"][step][field] = value
        if value is ...:
            del document["steps"][step][field]
    return document


def test_a_worker() -> None:
    worker = parse_worker(WORKER)
    assert (worker.name, worker.namespace, worker.version, worker.description) == ("thinker", "shop", "1.0", "thinks")
    assert (worker.provider, worker.model_name, worker.temperature) == ("openai", "small", 0.5)
    assert (worker.system_prompt, worker.compensation_prompt) == ("Be kind.", "Undo it.")
    web, old, local = worker.tool_sources
    assert (web.name, web.transport, web.url) == ("web", Transport.STREAMABLE_HTTP, "https://${ENV:HOST}/mcp")
    assert web.headers == {"X-A": "b"}
    assert (old.transport, old.url) == (Transport.SSE, "${ENV:URL}")
    assert (local.command, local.args, local.cwd, local.env_inherit) == ("python", ("-m", "x"), "/srv", ("PATH",))
    assert local.env == {"A": "${ENV:A}"}


def test_the_least_worker() -> None:
    worker = parse_worker({"kind": "worker", "name": "w", "version": "1"})
    assert (worker.namespace, worker.provider, worker.temperature, worker.tool_sources) == ("default", None, 0.0, ())


def test_a_saga() -> None:
    ask_model, pay = parse_saga(SAGA).steps
    assert (ask_model.id, ask_model.name, ask_model.kind, ask_model.timeout_seconds) == (
        "think",
        "Think it over",
        StepKind.REASON,
        30.0,
    )
    assert ask_model.bindings == {"name": Binding("$.input.name"), "limit": Binding(value=5)}
    assert (ask_model.when, ask_model.policy) == ("input.amount > 1", Policy("short", "size(output.text) < 100"))
    assert (ask_model.hitl, ask_model.hitl_max_retries, ask_model.hitl_retry_guidance) == (True, 3, "Be shorter.")
    assert (ask_model.review, ask_model.hitl_timeout_seconds) == ({"approvals": 1}, 3600.0)
    assert ask_model.hitl_on_timeout is OnTimeout.REJECT
    assert ask_model.undo is None
    assert ask_model.tool is None
    mind = ask_model.reasoning
    assert mind is not None
    assert (mind.prompt_ref, mind.adapter, mind.tools) == ("x.j2", Adapter.REACT, ("search", "read"))
    assert mind.resources == ("docs://all", "docs://{name}/**")
    assert mind.facts == (Fact("id", "search", "$.id"),)
    assert mind.script == (
        MockTurn("search", {"q": "x"}, 0.5),
        MockTurn("read_resource", {"uri": "docs://all"}),
        MockTurn(None, {"text": "Hello"}),
    )
    assert (mind.max_turns, mind.max_step_tokens, mind.keep_transcript) == (20, 1000, True)
    assert mind.output_schema == REASON["output_schema"]
    assert (pay.name, pay.tool, pay.idempotent, pay.reasoning) == ("pay", "pay", False, None)
    assert (pay.hitl, pay.hitl_on_timeout, pay.timeout_seconds) == (False, OnTimeout.EXPIRE, 600.0)
    bindings = {"id": Binding("$.steps.pay.output.data.id"), "key": Binding("$._compensation.idempotency_key")}
    assert pay.undo == Compensation("thinker", "1.0", bindings, ("cancel",), 5.0, "cancel")


def test_the_least_that_thinks() -> None:
    names = ("tools", "resources", "facts", "output_schema", "max_turns", "max_step_tokens", "keep_transcript", "mock")
    document = _changed(0, agent_adapter=..., **dict.fromkeys(names, ...))
    document["steps"][1]["with"] = {"text": {"from": "$.steps.think.output.data.summary"}}
    mind = parse_saga(document).steps[0].reasoning
    assert mind is not None
    assert (mind.adapter, mind.tools, mind.resources, mind.facts, mind.script) == (Adapter.REACT, (), (), (), ())
    assert (mind.max_turns, mind.max_step_tokens, mind.keep_transcript) == (10, None, False)
    assert mind.output_schema == {
        "type": "object",
        "properties": {"summary": {"type": "string"}},
        "required": ["summary"],
        "additionalProperties": False,
    }


def test_an_answer_without_a_schema_is_what_later_steps_read() -> None:
    """Others leave the schema out, and say in the prompt what they want."""
    names = ("tools", "resources", "facts", "output_schema", "mock", "policy", "when")
    document = _changed(0, agent_adapter="react", **dict.fromkeys(names, ...))
    document["steps"][1] |= {"when": {"cel": "has(steps.think.output.data.ok)"}}
    mind = parse_saga(document).steps[0].reasoning
    assert mind is not None
    assert mind.output_schema == {"type": "object", "properties": {"ok": {}, "text": {}}, "required": ["ok", "text"]}
    document["steps"][0]["agent-adapter"] = "simple"
    del document["steps"][0]["max_turns"]
    mind = parse_saga(document).steps[0].reasoning
    assert mind is not None
    assert mind.output_schema["required"] == ["summary"]


def test_a_simple_one_may_be_scripted_too() -> None:
    mind = (
        parse_saga(_changed(0, **SIMPLE | {"mock": [{"submit": {"text": "x"}, "after_seconds": 2}]})).steps[0].reasoning
    )
    assert mind is not None
    assert (mind.adapter, mind.script) == (Adapter.SIMPLE, (MockTurn(None, {"text": "x"}, 2.0),))


def test_an_undo_names_its_tool_like_a_step_too() -> None:
    undo = COMMIT["compensation"] | {"tools": {"allow": ["cancel"]}}
    parsed = parse_saga(_changed(1, compensation=undo)).steps[1].undo
    assert parsed is not None
    assert parsed.tools == ("cancel",)


def test_items_as_others_write_them() -> None:
    """`{name: …}` for a tool, `{uri: …}` for a resource, wherever they stand; a description is for readers."""
    tools = {"allow": [{"name": "search", "description": "looks"}, "read"]}
    resources = {"allow": [{"uri": "docs://all"}, {"uri": "docs://{name}/**", "description": "all of them"}]}
    mind = parse_saga(_changed(0, tools=tools, resources=resources)).steps[0].reasoning
    assert mind is not None
    assert (mind.tools, mind.resources) == (("search", "read"), ("docs://all", "docs://{name}/**"))
    for form in ({"allow": [{"name": "cancel"}]}, [{"name": "cancel"}]):
        undo = COMMIT["compensation"] | {"tools": form}
        pay = parse_saga(_changed(1, tools={"allow": [{"name": "pay"}]}, compensation=undo)).steps[1]
        assert pay.undo is not None
        assert (pay.tool, pay.undo.tools) == ("pay", ("cancel",))


def test_facts_of_a_tool_in_a_group() -> None:
    group = {"tool": "search", "into": "found", "fields": {"total": "$.total", "first": "$.items[0].id"}}
    mind = parse_saga(_changed(0, facts=[group, {"name": "id", "tool": "read", "from": "$.id"}])).steps[0].reasoning
    assert mind is not None
    assert mind.facts == (
        Fact("total", "search", "$.total", "found"),
        Fact("first", "search", "$.items[0].id", "found"),
        Fact("id", "read", "$.id"),
    )


def test_a_source_without_a_transport() -> None:
    source = {"name": "web", "url": "http://x/sse", "headers": None, "env_inherit": ...}
    del source["env_inherit"]
    worker = parse_worker(WORKER | {"tool_sources": [source], "adapter": "langchain"})
    assert worker.tool_sources[0].transport is Transport.SSE


def test_a_required_binding_and_the_schema_of_the_input() -> None:
    schema = {"type": "object", "required": ["name"]}
    bound = {"text": {"from": "$.input.name", "required": True}, "b": {"from": "$.input.b", "required": False}}
    saga = parse_saga(_changed(1, with_=bound) | {"input_schema": schema})
    assert saga.input_schema == schema
    assert saga.steps[1].bindings == {
        "text": Binding("$.input.name", required=True),
        "b": Binding("$.input.b", required=False),
    }


def test_a_binding_may_read_all_the_data() -> None:
    assert parse_saga(_changed(1, with_={"all": {"from": "$"}})).steps[1].bindings == {"all": Binding("$")}


def test_with_several_tools_a_model_undoes() -> None:
    undo = COMMIT["compensation"] | {"tools": ["look", "cancel"], "mock": [{"call": "look"}], "keep_transcript": True}
    parsed = parse_saga(_changed(1, compensation=undo)).steps[1].undo
    assert parsed is not None
    assert parsed.reasoning is not None
    assert parsed.tool is None
    assert (parsed.reasoning.tools, parsed.reasoning.adapter) == (("look", "cancel"), Adapter.REACT)
    assert (parsed.reasoning.max_turns, parsed.reasoning.keep_transcript) == (2, True)
    assert parsed.reasoning.script == (MockTurn("look", {}),)
    assert parsed.reasoning.output_schema["required"] == ["undone", "summary"]


def test_every_error_at_once() -> None:
    document = _changed(0, kind="dream", worker=..., with_={"a": {"from": "x"}}, colour="red")
    document["steps"][1] |= {"timeout_seconds": 0, "tools": {"allow": []}}
    document |= {"version": 2, "namespace": "Shop"}
    assert _field_errors(document).keys() >= {
        "version",
        "namespace",
        "steps[0].kind",
        "steps[0].worker",
        "steps[0].with.a.from",
        "steps[0].colour",
        "steps[1].timeout_seconds",
        "steps[1].tools.allow",
    }


@pytest.mark.parametrize("document", [None, [], "x", 1, True])
def test_what_is_no_object(document: object) -> None:
    assert _field_errors(document).keys() == {""}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"kind": "job"}, "kind"),
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"version": 1.0}, "version"),
        ({"namespace": "A"}, "namespace"),
        ({"description": 1}, "description"),
        ({"provider": "acme"}, "provider"),
        ({"model_name": None}, "model_name"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"steps": []}, "steps"),
        ({"tool_sources": {}}, "tool_sources"),
        ({"tool_sources": ["x"]}, "tool_sources[0]"),
        ({"tool_sources": [{"name": "a", "transport": "tcp"}]}, "tool_sources[0].transport"),
        ({"tool_sources": [{"name": "a", "transport": "stdio"}]}, "tool_sources[0].command"),
        ({"tool_sources": [{"name": "a", "transport": "sse"}]}, "tool_sources[0].url"),
        ({"tool_sources": [{"name": "a", "transport": "sse", "url": "ftp://x"}]}, "tool_sources[0].url"),
        ({"tool_sources": [{"name": "a", "transport": "sse", "url": "http://x", "args": []}]}, "tool_sources[0].args"),
        ({"tool_sources": [{"name": "a", "transport": "stdio", "command": "x", "url": "y"}]}, "tool_sources[0].url"),
        (
            {"tool_sources": [{"name": "a", "transport": "stdio", "command": "x", "env": {"A": 1}}]},
            "tool_sources[0].env.A",
        ),
        ({"tool_sources": [WORKER["tool_sources"][2]] * 2}, "tool_sources[1].name"),
        ({"tool_sources": [{"name": "a"}]}, "tool_sources[0].url"),
        ({"tool_sources": [{"name": "a", "command": "x"}]}, "tool_sources[0].transport"),
        ({"tool_sources": [WORKER["tool_sources"][0] | {"name": f"t{n}"} for n in range(21)]}, "tool_sources"),
        ({"adapter": "mine"}, "adapter"),
        ({"adapter": 1}, "adapter"),
        ({"x" * 5: float("nan")}, "xxxxx"),
        ({"description": "\x00"}, "description"),
    ],
)
def test_a_worker_with_an_error(changes: dict[str, Any], path: str) -> None:
    assert list(_field_errors(WORKER | changes)) == [path]


@pytest.mark.parametrize(
    ("step", "changes", "path"),
    [
        (1, {"id": "1a", "compensation": ...}, "steps[1].id"),
        (1, {"id": "think", "compensation": ...}, "steps[1].id"),
        (0, {"worker_version": ...}, "steps[0].worker_version"),
        (1, {"with_": []}, "steps[1].with"),
        (1, {"with_": {"a": 1}}, "steps[1].with.a"),
        (1, {"with_": {"a": {}}}, "steps[1].with.a"),
        (1, {"with_": {"a": {"from": "$.input", "value": 1}}}, "steps[1].with.a"),
        (1, {"with_": {"a": {"from": 1}}}, "steps[1].with.a.from"),
        (1, {"with_": {"a": {"from": "$.input.x", "required": "yes"}}}, "steps[1].with.a.required"),
        (1, {"with_": {"a": {"value": 1, "required": True}}}, "steps[1].with.a.required"),
        (1, {"with_": {"a": {"from": "$.input.x", "default": 1}}}, "steps[1].with.a.default"),
        (1, {"with_": {"a": {"from": "$.inputs.x"}}}, "steps[1].with.a.from"),
        (1, {"with_": {"a": {"from": "$.steps.none.output"}}}, "steps[1].with.a.from"),
        (1, {"with_": {"a": {"from": "$.steps.pay.output"}}}, "steps[1].with.a.from"),
        (1, {"with_": {"a": {"from": "$._compensation.x"}}}, "steps[1].with.a.from"),
        (0, {"when": "true"}, "steps[0].when"),
        (0, {"when": {}}, "steps[0].when.cel"),
        (0, {"when": {"cel": "arguments.x"}}, "steps[0].when.cel"),
        (0, {"policy": {"name": "x", "cel": "1 +"}}, "steps[0].policy.cel"),
        (0, {"policy": {"name": "x"}}, "steps[0].policy.cel"),
        (0, {"policy": "x.cel"}, "steps[0].policy"),
        (0, {"policy": {"cel": "true", "version": True}}, "steps[0].policy.version"),
        (0, {"hitl": "yes"}, "steps[0].hitl"),
        (1, {"review": {"approvals": 1}}, "steps[1].review"),
        (0, {"review": {"approvals": 0}}, "steps[0].review.approvals"),
        (0, {"review": 1}, "steps[0].review"),
        (0, {"hitl_max_retries": -1}, "steps[0].hitl_max_retries"),
        (0, {"hitl_timeout_seconds": 0}, "steps[0].hitl_timeout_seconds"),
        (0, {"hitl_on_timeout": "escalate"}, "steps[0].hitl_on_timeout"),
        (0, {"hitl_on_timeout": "wait"}, "steps[0].hitl_on_timeout"),
        (0, {"timeout_seconds": 1e9}, "steps[0].timeout_seconds"),
        (0, {"prompt": ...}, "steps[0].prompt"),
        (0, {"prompt": "x.j2"}, "steps[0].prompt"),
        (0, {"prompt": {"inline": "{{ nobody }}"}}, "steps[0].prompt.inline"),
        (0, {"prompt": {"inline": "{{ name"}}, "steps[0].prompt.inline"),
        (0, {"prompt": {"inline": "{{ name | nofilter }}"}}, "steps[0].prompt.inline"),
        (0, {"prompt": {"inline": "{% include 'x' %}"}}, "steps[0].prompt.inline"),
        (0, {"agent_adapter": "loop"}, "steps[0].agent-adapter"),
        (0, SIMPLE | {"tools": {"allow": ["search"]}}, "steps[0].tools.allow"),
        (0, SIMPLE | {"max_turns": 1}, "steps[0].max_turns"),
        (0, SIMPLE | {"resources": {"allow": ["docs://all"]}}, "steps[0].resources"),
        (0, SIMPLE | {"facts": []}, "steps[0].facts"),
        (0, SIMPLE | {"mock": [{"call": "search"}]}, "steps[0].mock[0].call"),
        (0, {"tools": {"allow": ["search", "read", "read"]}}, "steps[0].tools.allow[2]"),
        (0, {"tools": {"allow": ["search", "read", {"name": "read"}]}}, "steps[0].tools.allow[2]"),
        (0, {"tools": {"allow": ["search", "read", 5]}}, "steps[0].tools.allow[2]"),
        (0, {"tools": {"allow": ["search", "read", {}]}}, "steps[0].tools.allow[2].name"),
        (
            0,
            {"tools": {"allow": ["search", "read", {"name": "b", "strict_schema": {}}]}},
            "steps[0].tools.allow[2].strict_schema",
        ),
        (
            0,
            {"tools": {"allow": ["search", "read", {"name": "b", "output_schema": {}}]}},
            "steps[0].tools.allow[2].output_schema",
        ),
        (0, {"tools": {"allow": ["search", "read", {"name": "b", "cost": 1}]}}, "steps[0].tools.allow[2].cost"),
        (
            0,
            {"resources": {"allow": ["docs://all", {"uri": "docs://b", "mime": "x"}]}},
            "steps[0].resources.allow[1].mime",
        ),
        (0, {"facts": [{"into": "a", "tool": "read"}]}, "steps[0].facts[0].fields"),
        (0, {"facts": [{"into": "a", "tool": "read", "fields": {"b": "c"}}]}, "steps[0].facts[0].fields.b"),
        (0, {"facts": [{"into": "a", "tool": "read", "fields": {"b c": "$.c"}}]}, "steps[0].facts[0].fields.b c"),
        (0, {"facts": [{"name": f"f{n}", "tool": "read", "from": "$.b"} for n in range(101)]}, "steps[0].facts"),
        (0, {"facts": [{"into": "a", "tool": "read", "fields": {"b": "$.c"}, "from": "$"}]}, "steps[0].facts[0].from"),
        (0, {"facts": [{"into": "a", "tool": "read", "fields": {"b": "$.c"}}] * 2}, "steps[0].facts[1].into"),
        (0, {"tools": {"allow": ["search", "read_resource"]}}, "steps[0].tools.allow[1]"),
        (0, {"tools": {"allow": ["search", "_submit"]}}, "steps[0].tools.allow[1]"),
        (
            0,
            {"with_": {"name": {"value": 1}, "limit": {"value": 1}, "guidance": {"value": 1}}},
            "steps[0].with.guidance",
        ),
        (0, {"tools": {"allow": ["search", "read"], "deny": []}}, "steps[0].tools.deny"),
        (0, {"facts": [{"name": "a", "tool": "read", "from": "b"}]}, "steps[0].facts[0].from"),
        (0, {"facts": [{"name": "a", "tool": "read", "from": "$.b"}] * 2}, "steps[0].facts[1].name"),
        (0, {"facts": [{"name": "a", "from": "$.b"}]}, "steps[0].facts[0].tool"),
        (0, {"facts": [{"name": "a", "tool": "other", "from": "$.b"}]}, "steps[0].facts[0].tool"),
        (0, {"resources": {"allow": ["docs://all", "docs://{nobody}"]}}, "steps[0].resources.allow[1]"),
        (0, {"resources": {"allow": ["docs://all", "docs://../x"]}}, "steps[0].resources.allow[1]"),
        (0, {"mock": {}}, "steps[0].mock"),
        (0, {"mock": [{}]}, "steps[0].mock[0].call"),
        (0, {"mock": [{"call": "delete"}]}, "steps[0].mock[0].call"),
        (0, {"mock": [{"call": "read_resource"}], "resources": ...}, "steps[0].mock[0].call"),
        (0, {"mock": [{"submit": {}}, {"call": "read"}]}, "steps[0].mock[0].submit"),
        (0, {"mock": [{"submit": {}, "call": "read"}]}, "steps[0].mock[0].call"),
        (0, {"mock": [{"submit": "x"}]}, "steps[0].mock[0].submit"),
        (0, {"mock": [{"submit": {}, "after_seconds": 601}]}, "steps[0].mock[0].after_seconds"),
        (0, {"mock": [{"call": "read"}] * 201}, "steps[0].mock"),
        (0, {"output_schema": {"type": "nothing"}}, "steps[0].output_schema"),
        (0, {"output_schema": []}, "steps[0].output_schema"),
        (0, {"output_schema": {"type": "array"}}, "steps[0].output_schema"),
        (0, {"output_schema": {"type": ["object", "null"]}}, "steps[0].output_schema"),
        (0, {"output_schema": {"$ref": "#/$defs/A", "$defs": {"A": {"type": "array"}}}}, "steps[0].output_schema"),
        (0, {"output_schema": {"$ref": "#/$defs/A"}}, "steps[0].output_schema"),
        (0, {"output_schema": {"type": "object", "anyOf": [{"$ref": "#"}]}}, "steps[0].output_schema"),
        (0, {"max_turns": 0}, "steps[0].max_turns"),
        (0, {"max_turns": 201}, "steps[0].max_turns"),
        (0, {"max_step_tokens": 1.5}, "steps[0].max_step_tokens"),
        (0, {"idempotent": True}, "steps[0].idempotent"),
        (1, {"tools": ...}, "steps[1].tools.allow"),
        (1, {"tools": {"allow": ["a", "b"]}}, "steps[1].tools.allow"),
        (1, {"prompt": "x"}, "steps[1].prompt"),
        (1, {"max_turns": 5}, "steps[1].max_turns"),
        (1, {"idempotent": 1}, "steps[1].idempotent"),
        (1, {"compensation": "undo.yaml"}, "steps[1].compensation"),
        (1, {"compensation": COMMIT["compensation"] | {"tools": []}}, "steps[1].compensation.tools"),
        (1, {"compensation": COMMIT["compensation"] | {"mock": []}}, "steps[1].compensation.mock"),
        (
            1,
            {"compensation": COMMIT["compensation"] | {"tools": ["a", "b"], "mock": [{"call": "c"}]}},
            "steps[1].compensation.mock[0].call",
        ),
        (1, {"compensation": COMMIT["compensation"] | {"id": "x"}}, "steps[1].compensation.id"),
    ],
)
def test_a_step_with_an_error(step: int, changes: dict[str, Any], path: str) -> None:
    assert list(_field_errors(_changed(step, **changes))) == [path]


def test_a_hold_that_is_off_may_keep_its_words() -> None:
    """`hitl: false` switches the review off for a while; the other keys without `hitl` are a mistake."""
    assert parse_saga(_changed(0, hitl=False)).steps[0].hitl is False
    assert _field_errors(_changed(0, hitl=...)).keys() == {
        *(f"steps[0].{name}" for name in ("hitl_max_retries", "hitl_retry_guidance", "review")),
        *("steps[0].hitl_timeout_seconds", "steps[0].hitl_on_timeout"),
    }


def test_too_many_of_everything() -> None:
    step = {name: COMMIT[name] for name in ("kind", "worker", "worker_version", "tools")}
    assert list(_field_errors(SAGA | {"steps": [step | {"id": f"s{n}"} for n in range(101)]})) == ["steps"]
    assert list(_field_errors(SAGA | {"description": "x" * 10_001})) == ["description"]
    assert "must be at most 1024 KiB" in _field_errors(SAGA | {"x": "x" * 1_100_000})[""]
    assert len(_field_errors(SAGA | {f"f{n}": 1 for n in range(300)})) == 100


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$ref": "#/definitions/Answer",
            "definitions": {"Answer": {"type": "object", "properties": {"text": {"type": "string"}}}},
        },
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"type": "object"}}},
        {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"type": "object"}}},
        {"$ref": "#/$defs/A", "type": "object", "$defs": {"A": {"properties": {"text": {}}}}},
    ],
)
def test_an_answer_whose_schema_begins_with_a_reference(schema: dict[str, Any]) -> None:
    mind = parse_saga(_changed(0, output_schema=schema)).steps[0].reasoning
    assert mind is not None
    assert mind.output_schema == schema
    shown = json_schema.inlined(schema)
    assert shown.get("type") == "object" or shown["allOf"][0]["type"] == "object"
    assert "$ref" not in str(shown)


@pytest.mark.parametrize(
    ("schema", "field_error"),
    [
        ({"type": "object"}, None),
        ({}, None),
        ({"type": "array"}, "must have the type object"),
        ({"type": 5}, "is not a usable JSON Schema"),
        ([], "is not a JSON Schema"),
    ],
)
def test_the_schema_of_an_input(schema: object, field_error: str | None) -> None:
    if field_error is None:
        assert parse_saga(SAGA | {"input_schema": schema}).input_schema == schema
    else:
        assert field_error in _field_errors(SAGA | {"input_schema": schema})["input_schema"]


def test_the_kind_that_was_requested() -> None:
    with pytest.raises(InvalidManifest):
        parse_saga(WORKER)
    with pytest.raises(InvalidManifest):
        parse_worker(SAGA)


def test_a_stored_manifest_is_read_as_far_as_it_is_understood() -> None:
    """A newer release may have deployed it. Its other parts stay usable."""
    assert stored(SAGA) == parse_saga(SAGA)
    newer = _changed(0, colour="red", timeout_seconds=-1) | {"owner": "ops"}
    found = stored(newer)
    assert set(found.unreadable) == {"steps[0].timeout_seconds", "steps[0].colour", "owner"}
    assert replace(found, unreadable=()) == parse_saga(_changed(0, timeout_seconds=...))


@pytest.mark.parametrize("document", [None, [], {"kind": "job"}])
def test_a_stored_manifest_of_an_unknown_kind(document: object) -> None:
    with pytest.raises(NotUnderstood, match="whose kind this release does not know"):
        stored(document)


def test_the_steps_of_a_saga() -> None:
    saga = parse_saga(SAGA)
    assert saga.step("pay") is saga.steps[1]
    assert saga.undoable == {"pay"}
