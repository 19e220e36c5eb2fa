"""The parts of the OpenAPI document that routes and schemas lack: descriptions, examples, webhooks and the server.

Clients are generated from the document, so it must not depend on how one generator reads it.
"""

from collections.abc import Iterator
from typing import Any

from app.schemas.glossary import MEANINGS
from domain.delivery.webhook import CALLBACK_TYPES, EVENT_TYPES
from domain.sagas.saga import SagaStatus

_JSON = "application/json"
_REF = "#/components/schemas/"
# flask-smorest adds these to each document; nothing refers to them.
_UNUSED = ("Error", "PaginationMetadata")
_METHODS = frozenset({"get", "put", "post", "patch", "delete"})
_HEADERS = {
    "webhook-id": ("string", "The id of the message, the same in each attempt. Store it to recognise repeats."),
    "webhook-timestamp": ("string", "The time of the attempt, in seconds since 1970."),
    "webhook-signature": (
        "string",
        "`v1,…`: the HMAC-SHA256 of the id, the timestamp and the body, joined by dots. After a rotation, two of them.",
    ),
}
_RESPONSES = {
    "200": "Accepted, like any 2xx status. Respond first, then process the event.",
    "410": "The endpoint wants no more events. Sagahold disables it.",
    "4XX": "A failure. Sagahold tries again later.",
}
_DELIVERY = (
    "Sagahold sends this event to the endpoints that subscribe to it, signed according to Standard Webhooks."
    " It may arrive twice with the same `webhook-id`."
)
_SUMMARIES = {
    "pause.created": "An action waits for a decision",
    "pause.approved": "A pause was approved: execute `decision.arguments`",
    "pause.rejected": "A pause was rejected",
    "pause.expired": "A pause reached its time limit without a decision",
    "pause.cancelled": "The agent cancelled its request",
    "pause.escalated": "A pause was escalated to more people",
    "pause.consumed": "The agent used an approval, once",
    "pause.outcome": "The agent reported the outcome of an approved action",
    "pause.outcome_missing": "The outcome of an approved action is unknown, or its report is overdue",
    "saga.awaiting_human": "A step of a saga is held for a decision",
    "saga.completed": "All steps of a saga completed",
    "saga.failed": "A saga failed, and some steps are not undone",
    "saga.compensated": "A saga stopped, and its completed steps are undone",
    "saga.needs_operator": "The outcome of a call is unknown, or an undo failed",
    "step.failed": "A step or an undo failed",
    "audit.checkpoint": "A checkpoint of the audit log was signed: keep it where no administrator can change it",
    "webhook.test": "A person tests the endpoint",
}

_CHECKPOINT = {
    "type": "object",
    "description": "The checkpoint.",
    "required": ["namespace", "size", "root", "signed_at", "checkpoint"],
    "properties": {
        "namespace": {"type": "string", "description": "The namespace of the log."},
        "size": {"type": "integer", "description": "The number of entries."},
        "root": {"type": "string", "description": "The Merkle root (hex) over these entries."},
        "signed_at": {"type": "string", "format": "date-time", "description": "When it was signed."},
        "checkpoint": {"type": "string", "description": "The signed note (C2SP `tlog-checkpoint`)."},
    },
}


def complete(document: dict[str, Any], public_url: str) -> dict[str, Any]:
    """Complete the document in place and return it."""
    schemas = document["components"]["schemas"]
    for name in _UNUSED:
        schemas.pop(name, None)
    schemas |= _event_schemas()
    document["servers"] = [{"url": public_url, "description": "This installation."}]
    document["info"] |= {
        "contact": {"name": "The operator of this installation", "url": public_url},
        "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
    }
    document["webhooks"] = {type_: {"post": _webhook(type_)} for type_ in EVENT_TYPES}
    for name, schema in schemas.items():
        _describe_properties(name, schema)
    for operation in _operations(document):
        for parameter in operation.get("parameters", []):
            _describe(parameter, "", parameter.get("name", ""))
        _illustrate(operation, schemas)
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in (*document["paths"].values(), *document["webhooks"].values()):
        for parameter in item.get("parameters", []):
            _describe(parameter, "", parameter["name"])
        yield from (operation for method, operation in item.items() if method in _METHODS)


def _describe_properties(owner: str, schema: dict[str, Any]) -> None:
    for name, property_ in schema.get("properties", {}).items():
        _describe(property_, owner, name)
        # Generators treat a field with a default as always present, but a client may omit it.
        if "default" in property_:
            default = property_.pop("default")
            if default not in (None, [], {}):
                shown = str(default).lower() if isinstance(default, bool) else default
                property_["description"] = f"{property_['description'].rstrip('.')}. Default: {shown}."
        _describe_properties(owner, property_.get("items", {}))


def _describe(described: dict[str, Any], owner: str, name: str) -> None:
    meaning = MEANINGS.get(f"{owner}.{name}") or MEANINGS.get(name)
    if "description" not in described and meaning is not None:
        described["description"] = meaning[0]


def _illustrate(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add an example to each body without one."""
    bodies = [operation.get("requestBody", {})]
    bodies += [response for status, response in operation["responses"].items() if status.startswith("2")]
    for body in bodies:
        content = body.get("content", {}).get(_JSON)
        if content is not None and "schema" in content and not content.keys() & {"example", "examples"}:
            content["example"] = _example(content["schema"], schemas)


def _example(schema: dict[str, Any], schemas: dict[str, Any], owner: str = "", name: str = "") -> Any:
    if "$ref" in schema:
        owner = schema["$ref"].removeprefix(_REF)
        return _example(schemas[owner], schemas, owner)
    if "example" in schema:
        return schema["example"]
    known = MEANINGS.get(f"{owner}.{name}") or MEANINGS.get(name)
    if known is not None and (known[1] is not None or _may_be_null(schema)) and _fits(known[1], schema):
        return known[1]
    if "enum" in schema:
        return schema["enum"][0]
    if _may_be_null(schema):
        return None
    if parts := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return _example(parts[0], schemas, owner, name)
    return _plain_example(schema, schemas, owner)


def _plain_example(schema: dict[str, Any], schemas: dict[str, Any], owner: str) -> Any:
    match _types(schema)[0]:
        case "object":
            return {
                name: _example(inner, schemas, owner, name)
                for name, inner in schema.get("properties", {}).items()
                if name in schema.get("required", ())
            }
        case "array":
            return [_example(schema["items"], schemas, owner)]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
    return "2026-03-30T21:00:00.000Z" if schema.get("format") == "date-time" else "text"


def _types(schema: dict[str, Any]) -> list[str]:
    type_ = schema.get("type", "object")
    return type_ if isinstance(type_, list) else [type_]


def _may_be_null(schema: dict[str, Any]) -> bool:
    parts = schema.get("anyOf", [])
    return "null" in _types(schema) or {"type": "null"} in parts or not schema.keys() - {"description"}


def _fits(example: Any, schema: dict[str, Any]) -> bool:
    """Tell whether the example has the schema's type: a name may be a list in one schema and a text in another."""
    if example is None:
        return _may_be_null(schema)
    if "enum" in schema:
        return example in schema["enum"]
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return "type" not in schema or kinds[type(example)] in _types(schema)


def _webhook(type_: str) -> dict[str, Any]:
    return {
        "operationId": "receive_" + type_.replace(".", "_"),
        "tags": ["webhooks"],
        "summary": _SUMMARIES[type_],
        "description": _DELIVERY
        + (" The pause's own `callbackUrl` receives it too." if type_ in CALLBACK_TYPES else ""),
        "security": [],
        "parameters": [
            {"in": "header", "name": name, "required": True, "schema": {"type": kind}, "description": meaning}
            for name, (kind, meaning) in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": {"$ref": f"{_REF}{_event_name(type_)}"}}},
        },
        "responses": {status: {"description": meaning} for status, meaning in _RESPONSES.items()},
    }


def _event_name(type_: str) -> str:
    return "".join(part.title() for part in type_.replace("_", ".").split(".")) + "Event"


def _event_schemas() -> dict[str, Any]:
    return {_event_name(type_): _event_schema(type_) for type_ in EVENT_TYPES}


def _event_schema(type_: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "enum": [type_], "description": "The type of the event."},
            "timestamp": {"type": "string", "format": "date-time", "description": "The time of the event."},
            "data": _event_data(type_),
        },
    }


def _event_data(type_: str) -> dict[str, Any]:
    if type_.startswith("pause."):
        return {"description": "The pause at the time of the event.", "$ref": f"{_REF}Pause"}
    if type_ == "webhook.test":
        endpoint = {"type": "string", "description": "The id of the tested endpoint."}
        return {
            "type": "object",
            "description": "The tested endpoint.",
            "required": ["endpoint_id"],
            "properties": {"endpoint_id": endpoint},
        }
    if type_ == "audit.checkpoint":
        return _CHECKPOINT
    text = {"type": "string"}
    error = {"anyOf": [{"$ref": f"{_REF}StepError"}, {"type": "null"}]}
    names = ("trace_id", "namespace", "name", "version")
    required = [*names, "status", "error_details"]
    step = {"$ref": f"{_REF}Step"}
    properties: dict[str, Any] = {name: dict(text) for name in names}
    properties |= {
        "status": {"type": "string", "enum": [str(status) for status in SagaStatus]},
        "error_details": error,
        "step": step,
    }
    if type_ in ("saga.awaiting_human", "saga.needs_operator", "step.failed"):
        required.append("step")
    return {
        "type": "object",
        "description": "The saga and, in some events, a step.",
        "required": required,
        "properties": properties,
    }
