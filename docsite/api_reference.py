"""The pages of the HTTP API, from the OpenAPI document."""

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import fields
from functools import cache
from typing import Any, cast

from app import create_app
from app.deps import Deps
from app.openapi.contract import complete

# An installation's own document has its own address.
_SERVER = "http://127.0.0.1:8000"
_METHODS = ("get", "put", "post", "patch", "delete")
Json = dict[str, Any]


@cache
def document() -> Json:
    """Return the OpenAPI document. No view runs, so the application needs no database."""
    app = create_app(Deps(*cast(Any, [None] * len(fields(Deps)))))
    api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    return complete(deepcopy(api.spec.to_dict()), _SERVER)


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its name."""
    texts = {"api/index.md": _start(), "api/events.md": _events(), "api/schemas.md": _schemas()}
    for tag in document()["tags"]:
        lines = [f"# API: {tag['name']}", "", f"{_text(tag['description'])}.", ""]
        for method, path, operation in operations():
            if tag["name"] in operation["tags"]:
                lines += _operation(method, path, operation)
        texts[f"api/{tag['name']}.md"] = "\n".join(lines)
    return texts


def operations() -> Iterator[tuple[str, str, Json]]:
    """Yield method, path and operation, with the parameters of the path."""
    for path, item in document()["paths"].items():
        for method in _METHODS:
            if method in item:
                parameters = [*item.get("parameters", []), *item[method].get("parameters", [])]
                yield method.upper(), path, item[method] | {"parameters": parameters}


def _start() -> str:
    info = document()["info"]
    lines = [
        "# HTTP API",
        "",
        info["description"],
        "",
        "Each server has this reference as an interactive page at `/docs`, and as OpenAPI 3.1 at `/openapi.json`."
        " [openapi.json](../../openapi.json) is a copy. [For agent developers](../../agents.md) explains the use.",
        "",
    ]
    for tag in document()["tags"]:
        lines += [f"## {tag['name'].capitalize()}", "", f"{_text(tag['description'])}.", ""]
        rows = [
            (f"[`{method} {path}`]({tag['name']}.md#{_anchor(operation)})", operation["summary"])
            for method, path, operation in operations()
            if tag["name"] in operation["tags"]
        ]
        lines += _table(("route", "use"), rows)
    return "\n".join(lines)


def _operation(method: str, path: str, operation: Json) -> list[str]:
    lines = [f'<a id="{_anchor(operation)}"></a>', "", f"## {_text(operation['summary'])}", ""]
    lines += ["```http", f"{method} {path}", "```", ""]
    if "description" in operation:
        lines += [_text(operation["description"]), ""]
    permission = operation.get("x-permission")
    lines += [f"Permission: `{permission}`." if permission else "For everyone, without a key.", ""]
    if operation["parameters"]:
        rows = [
            (f"`{each['name']}`", each["in"], _kind(each["schema"]), _meaning(each, each.get("required")))
            for each in operation["parameters"]
        ]
        lines += _table(("parameter", "in", "type", "meaning"), rows)
    for content in operation.get("requestBody", {}).get("content", {}).values():
        lines += [f"Body: {_kind(content['schema'])}", ""]
        if "example" in content:
            lines += ["```json", json.dumps(content["example"], indent=2, ensure_ascii=False), "```", ""]
    return lines + _table(("status", "answer"), list(_answers(operation["responses"])))


def _answers(responses: Json) -> Iterator[tuple[str, str]]:
    for status, response in sorted(responses.items()):
        if "$ref" in response:
            response = _resolved(response)
            schema = response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
            codes = ", ".join(f"`{code}`" for code in sorted(schema["code"]["enum"]))
            yield status, f"{_text(response['description'])} {codes}"
        else:
            kinds = [
                _kind(content["schema"]) if media == "application/json" else f"`{media}`"
                for media, content in response.get("content", {}).items()
            ]
            yield status, ", ".join(kinds) or _text(response["description"])


def _resolved(reference: Json) -> Json:
    found: Any = document()
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return cast(Json, found)


def _events() -> str:
    lines = [
        "# API: events",
        "",
        "The server sends these events to webhooks, signed as [Standard Webhooks](https://www.standardwebhooks.com)"
        " describes. [For agent developers](../../agents.md) explains how to verify them.",
        "",
    ]
    rows = []
    for name, item in document()["webhooks"].items():
        (content,) = item["post"]["requestBody"]["content"].values()
        rows.append((f"`{name}`", f"{item['post']['summary']}.", _kind(content["schema"])))
    return "\n".join(lines + _table(("event", "meaning", "body"), rows))


def _schemas() -> str:
    lines = ["# API: objects", "", "The objects that the API takes and returns.", ""]
    for name, schema in sorted(document()["components"]["schemas"].items()):
        required = schema.get("required", [])
        rows = [
            (f"`{field}`", _kind(inner), _meaning(inner, field in required))
            for field, inner in schema.get("properties", {}).items()
        ]
        lines += [f"## {name}", ""]
        lines += _table(("field", "type", "meaning"), rows) if rows else ["An empty object.", ""]
    return "\n".join(lines)


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a type in words, such as `string or null`, with a link to a named object."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](schemas.md#{name.lower()})"
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[word]))
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kinds = schema.get("type", "any value")
    if "array" in kinds and "items" in schema:
        return f"list of {_kind(schema['items'])}" + (" or null" if "null" in kinds else "")
    return " or ".join([kinds] if isinstance(kinds, str) else kinds)


def _meaning(described: Mapping[str, Any], required: bool | None) -> str:
    notes = ["Required." if required else "", _limits(described.get("schema", described))]
    return " ".join(each for each in (_text(described.get("description", "")), *notes) if each)


def _limits(schema: Mapping[str, Any]) -> str:
    """Return such as `(length 1 to 200, default null)` in code, or an empty text."""
    found = []
    for words, least, most in (
        ("", "minimum", "maximum"),
        ("length ", "minLength", "maxLength"),
        ("items ", "minItems", "maxItems"),
    ):
        if least in schema or most in schema:
            found.append(f"{words}{schema.get(least, '')}…{schema.get(most, '')}")
    found += [f"{name} `{schema[name]}`" for name in ("format", "pattern") if name in schema]
    if "default" in schema:
        found.append(f"default `{json.dumps(schema['default'])}`")
    return f"({', '.join(found)})" if found else ""


def _anchor(operation: Json) -> str:
    return cast(str, operation["operationId"])


def _text(text: str) -> str:
    return " ".join(text.split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *(tuple(_cell(cell) for cell in row) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
