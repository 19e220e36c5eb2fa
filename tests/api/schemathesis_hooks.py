"""Loaded by the Schemathesis command that `test_schemathesis` runs: leads well-formed requests to things that exist.

A random id is never there, a random namespace is forbidden, a random URL would be connected to. So what is well-formed
is exchanged for something real, and the request goes as deep as a user's; what is malformed stays as it is.
"""

import functools
import itertools
import json
import os
import re
from collections.abc import Callable
from typing import Any

import httpx
import schemathesis

from app.schemas.fields import DEFINITION_ID, DELIVERY_ID, ENDPOINT_ID, KEY_ID, SPAN_ID, TRACE_ID, WATCH_ID
from domain.identity.access import is_namespace
from domain.sagas.saga import SagaStatus
from domain.values.url import check_url
from tests.sagas import Sagas, deploy, manifests, span

GIVEN = json.loads(os.environ["FUZZ"])
# Endpoints listen in a namespace where no pauses are, or each of hundreds would hear of each of hundreds.
NAMESPACE: str = GIVEN["namespace"]
ENDPOINTS: str = GIVEN["endpoints"]
# Nothing listens there: deliveries fail at once and do not leave this machine.
NOWHERE = "http://127.0.0.1:9/hook"

_turn = itertools.count()
_admin = httpx.Client(base_url=GIVEN["url"], headers={"Authorization": f"Bearer {GIVEN['admin']}"}, timeout=70)
_agent = httpx.Client(base_url=GIVEN["url"], headers={"Authorization": f"Bearer {GIVEN['agent']}"}, timeout=70)


def _made(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    answer.raise_for_status()
    return answer.json()


def _pending_pause() -> str:
    more: dict[str, Any] = {"arguments": {"version": 1}} if next(_turn) % 2 else {}
    return _made(_agent, "/api/pause", action="to be fuzzed", context={"a": 1}, **more)["watchId"]


def _resolved_pause() -> str:
    """Its event stream ends by itself."""
    watch_id = _pending_pause()
    _made(_agent, f"/api/pause/{watch_id}/cancel")
    return watch_id


def _endpoint() -> str:
    return _made(_admin, "/v1/webhooks/endpoints", url=NOWHERE, namespaces=[ENDPOINTS])["id"]


def _delivery() -> str:
    return _made(_admin, f"/v1/webhooks/endpoints/{_endpoint()}/test")["delivery_id"]


def _key() -> str:
    return _made(_admin, "/v1/keys", name="to be fuzzed", role="agent", namespaces=[NAMESPACE])["id"]


def _definition() -> str:
    manifest = {"kind": "worker", "name": "to-be-fuzzed", "version": "1", "namespace": NAMESPACE}
    return _made(_admin, "/v1/manifests", manifest=manifest)["id"]


def _saga() -> str:
    """Start a saga that is held until a decision."""
    _deployed()
    started = _made(_agent, "/v1/sagas/start", name="held", version="1", namespace=NAMESPACE)
    return started["trace_id"]


@functools.cache
def _deployed() -> None:
    for document in manifests(NAMESPACE):
        deploy(_admin, document)


_REAL: dict[str, tuple[str, Callable[[], str]]] = {
    "watch_id": (WATCH_ID, _pending_pause),
    "endpoint_id": (ENDPOINT_ID, _endpoint),
    "delivery_id": (DELIVERY_ID, _delivery),
    "key_id": (KEY_ID, _key),
    "definition_id": (DEFINITION_ID, _definition),
    "trace_id": (TRACE_ID, _saga),
}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    for part in (case.path_parameters, case.query):
        for name, (pattern, make) in _REAL.items():
            if isinstance(part, dict) and re.fullmatch(pattern, str(part.get(name))):
                # Operations that read share an object; operations that change need their own.
                part[name] = _to_read(case.operation.path, make) if case.method == "GET" else make()
    if isinstance(case.path_parameters, dict):
        _steer_span(case.path_parameters)
    if isinstance(case.query, dict):
        _steer_query(case.query)
    if isinstance(case.body, dict):
        _steer_body(case.body, case.operation.path)


def _steer_span(parts: dict[str, Any]) -> None:
    """To a step of that very saga, as soon as it is held."""
    trace_id, span_id = str(parts.get("trace_id")), str(parts.get("step_span_id"))
    if not re.fullmatch(TRACE_ID, trace_id) or not re.fullmatch(SPAN_ID, span_id):
        return
    parts["step_span_id"] = span(Sagas(_agent, _agent).when(trace_id, *SagaStatus), "two")


@functools.cache
def _to_read(path: str, make: Callable[[], str]) -> str:
    return _resolved_pause() if path.endswith("/events") else make()


def _steer_query(query: dict[str, Any]) -> None:
    _steer_namespace(query)
    # A long poll responds when its time is over: a wait of one second tests as much as sixty.
    if str(query.get("wait")).isdigit() and 1 < int(query["wait"]) <= 60:
        query["wait"] = 1


def _steer_body(body: dict[str, Any], path: str) -> None:
    if path in ("/api/pause", "/v1/sagas/start"):
        # Without it an admin's goes to `default`, where these keys may not go.
        body.setdefault("namespace", NAMESPACE)
    if path == "/v1/sagas/start" and isinstance(body.get("name"), str) and next(_turn) % 3:
        body |= {"name": "held", "version": "1"}
        _deployed()
    _steer_namespace(body)
    names = body.get("namespaces")
    if isinstance(names, list) and names and all(isinstance(name, str) and is_namespace(name) for name in names):
        body["namespaces"] = [ENDPOINTS]
    for name in ("url", "callbackUrl"):
        if isinstance(url := body.get(name), str) and _is_accepted(url):
            body[name] = NOWHERE


def _steer_namespace(part: dict[str, Any]) -> None:
    namespace = part.get("namespace")
    if isinstance(namespace, str) and is_namespace(namespace) and next(_turn) % 3:
        part["namespace"] = NAMESPACE


def _is_accepted(url: str) -> bool:
    try:
        check_url(url, ())
    except ValueError:
        return False
    return True
