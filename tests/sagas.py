"""Sagas for tests over HTTP, on a real tool server whose tools do what they are asked to, fail, or crash."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ODD_SERVER = Path(__file__).parent / "adapters" / "mcp_servers" / "odd.py"
# Far more than a saga takes on a machine where many tests run at once.
SETTLES_WITHIN = 120.0


def worker(namespace: str) -> dict[str, Any]:
    source = {"name": "odd", "transport": "stdio", "command": sys.executable, "args": [str(ODD_SERVER), "stdio"]}
    return {"kind": "worker", "name": "odd", "version": "1", "namespace": namespace, "tool_sources": [source]}


def step(id_: str, tool: str = "echo", **more: Any) -> dict[str, Any]:
    bindings = {"echo": {"value": {"from": "$.input.value"}}, "fail": {"message": {"value": "no"}}}.get(tool, {})
    if tool == "tell":
        bindings = {"message": {"from": "$.input.value"}, "times": {"value": 3}, "hangs": {"value": True}}
    common = {"id": id_, "name": id_.title(), "kind": "commit", "worker": "odd", "worker_version": "1"}
    return common | {"with": bindings, "tools": {"allow": [tool]}} | more


def reason_step(id_: str, prompt: str, **more: Any) -> dict[str, Any]:
    """Its prompt may speak of the `topic`, which is the saga's input."""
    common = {"id": id_, "kind": "reason", "worker": "odd", "worker_version": "1"}
    return common | {"with": {"topic": {"from": "$.input.value"}}, "prompt": {"inline": prompt}} | more


def undo(tool: str = "echo") -> dict[str, Any]:
    bindings = {"echo": {"value": {"value": "undone"}}, "fail": {"message": {"value": "cannot"}}}.get(tool, {})
    return {"worker": "odd", "worker_version": "1", "with": bindings, "tools": [tool]}


def saga(namespace: str, name: str, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "saga", "name": name, "version": "1", "namespace": namespace, "steps": list(steps)} | more


# The tool requires an order, and what `one` answers has none.
UNBOUND = {
    **{"worker": "odd", "worker_version": "1", "tools": ["pay_back"]},
    "with": {"order": {"from": "$.steps.one.output.data.order"}, "remark": {"from": "$.input.remark"}},
}


def manifests(namespace: str) -> list[dict[str, Any]]:
    """Each by what happens in it."""
    return [
        worker(namespace),
        saga(namespace, "plain", step("one")),
        saga(namespace, "tells", step("one", "tell", timeout_seconds=40)),
        saga(namespace, "held", step("one", compensation=undo()), step("two", hitl=True, hitl_max_retries=1)),
        saga(namespace, "crashes", step("one", compensation=undo()), step("two", "crash")),
        saga(namespace, "undo-fails", step("one", compensation=undo("fail")), step("two", "fail")),
        saga(namespace, "undo-unbound", step("one", compensation=UNBOUND), step("two", "fail")),
        saga(namespace, "undo-crashes", step("one", compensation=undo("crash")), step("two", "fail")),
    ]


def deploy(admin: httpx.Client, document: dict[str, Any], query: str = "") -> None:
    answer = admin.post(f"/v1/manifests{query}", json=document)
    assert answer.status_code == 200, answer.text


@dataclass(frozen=True)
class Sagas:
    """The operations of tests on sagas, each by a client that may do it."""

    agent: httpx.Client
    reader: httpx.Client

    def start(self, name: str, **more: Any) -> str:
        answer = self.agent.post("/v1/sagas/start", json={"name": name, "version": "1", "input": {"value": "x"}} | more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["trace_id"])

    def read(self, trace_id: str) -> dict[str, Any]:
        answer = self.reader.get(f"/v1/sagas/{trace_id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def when(self, trace_id: str, *statuses: str, needs_operator: bool = False) -> dict[str, Any]:
        """The saga, once it has come to this."""
        deadline = time.monotonic() + SETTLES_WITHIN
        while True:
            found = self.read(trace_id)
            if found["status"] in statuses and found["needs_operator"] is needs_operator:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def held(self, name: str = "held", **more: Any) -> tuple[str, str]:
        """A new saga's trace id, and the span of its step that waits for a person."""
        trace_id = self.start(name, **more)
        return trace_id, span(self.when(trace_id, "AWAITING_HUMAN"), "two")


def span(document: dict[str, Any], step_id: str, *, undo: bool = False) -> str:
    return str(row(document, step_id, undo=undo)["step_span_id"])


def row(document: dict[str, Any], step_id: str, *, undo: bool = False) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [
        step
        for step in document["steps"]
        if step["step_id"] == step_id and (step["compensates_span_id"] is not None) is undo
    ]
    return found
