"""The OpenAPI document: valid, complete, and telling what the server checks."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR as VALIDATOR

from cli.devstack import Stack
from domain.delivery.webhook import EVENT_TYPES
from domain.values import errors

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    return httpx.get(f"{stack.url}/openapi.json").json()


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By operationId, with the path beside it."""
    return {
        operation["operationId"]: operation | {"path": path}
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    """By the published meta-schema, which Schemathesis carries."""
    field_errors = [f"{list(error.instance_path)}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]
    assert document["openapi"].startswith("3.1")
    assert field_errors == []


def test_every_operation_tells_what_it_is_who_may_and_how_it_refuses(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        assert operation["summary"], name
        assert {"500", "503"} < operation["responses"].keys(), name
        # Where nothing is said the document's own `security` holds: a key.
        assert ("401" in operation["responses"]) == ("security" not in operation), name
        assert operation.get("security", []) == [], name
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), name
        if "{" in operation["path"]:
            assert "404" in operation["responses"], name


def test_every_code_is_listed_with_its_status(document: dict[str, Any]) -> None:
    """Clients branch on `code`, so the document lists each code under its status."""
    listed = {
        code
        for response in document["components"]["responses"].values()
        for code in response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
    }
    ours = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DomainError)
    }
    # A door answers with the codes of its client's protocol, which this document does not describe.
    sources = set((ROOT / "app").rglob("*.py")) - set((ROOT / "app/doors").rglob("*.py"))
    in_code = {code for path in sources for code in re.findall(r'\b\d{3}, "([A-Z_]+)"', path.read_text())}
    # The code of a wrong state names the state.
    assert ours - {"REFUSED", "WRONG_STATE"} <= listed
    assert {"SAGA_COMPLETED", "STEP_AWAITING_HUMAN", "RETRIES_USED_UP", "MAY_RUN_TWICE"} <= listed
    assert in_code <= listed
    assert {"UNAUTHENTICATED", "KEY_IN_URL", "NOT_READY", "MALFORMED_JSON"} <= in_code


def test_every_check_is_documented(document: dict[str, Any], operations: dict[str, dict[str, Any]]) -> None:
    """Patterns, ranges and enums stand in the document, in words that any reader of JSON Schema knows."""
    draft = document["components"]["schemas"]["PauseDraft"]
    fields = draft["properties"]
    assert draft["required"] == ["action"]
    assert draft["additionalProperties"] is False
    assert (fields["action"]["minLength"], fields["action"]["maxLength"]) == (1, 500)
    assert (fields["priority"]["minimum"], fields["priority"]["maximum"]) == (0, 9)
    assert fields["onTimeout"]["enum"] == ["expire", "reject", "approve", "escalate"]
    assert fields["namespace"]["pattern"] == "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
    assert "\\Z" not in json.dumps(document)
    for path, item in document["paths"].items():
        for parameter in item.get("parameters", []):
            assert "pattern" in parameter["schema"], path
    wait = next(p for p in operations["get_pause"]["parameters"] if p["name"] == "wait")
    assert (wait["schema"]["minimum"], wait["schema"]["maximum"]) == (0, 60)


def test_the_example_is_the_one_that_people_know(operations: dict[str, dict[str, Any]]) -> None:
    content = operations["create_pause"]["requestBody"]["content"]["application/json"]
    assert content["example"] == {
        "action": "Deploy to production (v2.4.1)",
        "context": {"environment": "prod", "commit": "a3f9b2e"},
    }
    bodies = {name for name, operation in operations.items() if operation.get("requestBody", {}).get("required")}
    assert all("example" in operations[name]["requestBody"]["content"]["application/json"] for name in bodies)


# Names of methods in every generated client: a new one may come, none may go.
STABLE = {
    "create_pause", "list_pauses", "get_pause", "stream_pause_events", "approve_pause", "reject_pause", "cancel_pause",
    "claim_pause", "unclaim_pause", "decide_pauses", "start_saga", "list_sagas", "get_saga", "cancel_saga",
    "list_steps",
    "list_pending_reviews", "get_step", "decide_step", "approve_step", "reject_step", "retry_held_step", "retry_step",
    "retry_compensation", "resolve_step", "deploy_manifest", "list_saga_definitions", "list_worker_definitions",
    "get_definition", "create_endpoint", "list_endpoints", "get_endpoint", "change_endpoint", "delete_endpoint",
    "rotate_endpoint_secret", "test_endpoint", "recover_endpoint", "list_deliveries", "get_delivery",
    "redeliver_delivery", "get_signing_secret", "rotate_signing_secret", "create_person", "list_people", "get_person",
    "change_person", "make_sign_in_link", "sign_out_person", "list_groups", "put_group", "delete_group", "create_key",
    "list_keys", "revoke_key", "list_notifications", "retry_notification", "read_namespace", "change_namespace",
    "list_audit_events", "verify_audit_log", "export_audit_log", "check_liveness", "check_api", "check_readiness",
    "read_metrics", "get_receipt", "get_key_set", "list_receipt_keys", "rotate_receipt_key",
}  # fmt: skip


def test_operations_have_names_for_methods_that_stay(document: dict[str, Any]) -> None:
    names = [o["operationId"] for o in _operations(document)]
    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []
    assert set(names) >= STABLE


def test_everything_says_what_it_means(document: dict[str, Any]) -> None:
    """Describe a property by its field's metadata, or by app/schemas/glossary.py; an operation by its docstring."""
    schemas = document["components"]["schemas"]
    bare = [
        f"{name}.{key}"
        for name, schema in schemas.items()
        for key, value in schema.get("properties", {}).items()
        if not value.get("description")
    ]
    bare += [o["operationId"] for o in _operations(document) if not o.get("description")]
    bare += [
        f"{o['operationId']}({p['name']})"
        for o in _operations(document)
        for p in o.get("parameters", [])
        if "name" in p and not p.get("description")
    ]
    assert bare == []


def test_every_json_answer_has_an_example(document: dict[str, Any]) -> None:
    for operation in _operations(document):
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json")
            assert content is None or "example" in content, (operation["operationId"], status)


def test_no_field_of_a_request_has_a_default(document: dict[str, Any]) -> None:
    """Generators take such a field for one that is always there; its words say the default."""
    properties = [
        value
        for schema in document["components"]["schemas"].values()
        for value in schema.get("properties", {}).values()
    ]
    assert [value for value in properties if "default" in value] == []
    priority = document["components"]["schemas"]["PauseDraft"]["properties"]["priority"]
    assert priority["description"].endswith(" Default: 0.")


def test_no_list_of_allowed_values_repeats_itself(document: dict[str, Any]) -> None:
    found = _enums(document)
    assert any("pending" in values for values in found)
    assert [values for values in found if len(set(map(str, values))) < len(values)] == []


def test_where_it_is_served_and_what_it_sends(document: dict[str, Any], stack: Stack) -> None:
    assert [server["url"] for server in document["servers"]] == [stack.url]
    assert set(document["webhooks"]) == set(EVENT_TYPES)
    for type_, item in document["webhooks"].items():
        reference = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        event = document["components"]["schemas"][reference.rpartition("/")[2]]
        assert event["properties"]["type"]["enum"] == [type_]


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    items = [*document["paths"].values(), *document["webhooks"].values()]
    return [operation for item in items for method, operation in item.items() if method != "parameters"]


def _enums(part: Any) -> list[list[Any]]:
    if isinstance(part, list):
        return [values for inner in part for values in _enums(inner)]
    if not isinstance(part, dict):
        return []
    own = [part["enum"]] if isinstance(part.get("enum"), list) else []
    return own + [values for inner in part.values() for values in _enums(inner)]
