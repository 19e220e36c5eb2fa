"""The OpenAPI document: valid, complete, and telling what the server checks."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR as VALIDATOR

from cli.stack import Stack
from domain import errors

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
    faults = [f"{list(error.instance_path)}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]
    assert document["openapi"].startswith("3.1")
    assert faults == []


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
    """A client branches on `code`: each stands in the document, under the status that it comes with."""
    listed = {
        code
        for response in document["components"]["responses"].values()
        for code in response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
    }
    ours = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Refusal)}
    in_code = {
        code for path in (ROOT / "app").rglob("*.py") for code in re.findall(r'\b\d{3}, "([A-Z_]+)"', path.read_text())
    }
    # The code of a wrong state names the state.
    assert ours - {"REFUSED", "WRONG_STATE"} <= listed
    assert {"SAGA_COMPLETED", "STEP_AWAITING_HUMAN", "RETRIES_USED_UP", "MAY_RUN_TWICE"} <= listed
    assert in_code <= listed
    assert {"UNAUTHENTICATED", "KEY_IN_URL", "NOT_READY", "MALFORMED_JSON"} <= in_code


def test_what_is_checked_is_told(document: dict[str, Any], operations: dict[str, dict[str, Any]]) -> None:
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
