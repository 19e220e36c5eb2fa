"""The reading of a tool's result: whether the tool did its work, and its data.

The reading is lenient: in any form, a result without `isError` means that the work was done. Where the result does not
tell, the outcome is unknown.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jsonschema_rs

from adapters.mcp.outcome import MAX_WORDS, CallError, bad_output, tool_failed, words
from adapters.mcp.rpc import BARE
from domain.values import json_schema
from domain.values.canonical_json import encode, field_errors
from domain.values.errors import FieldError

log = logging.getLogger(__name__)

# Places of a schema times values of an answer, at most, for a check on the loop. Each costs 30 µs at worst.
_AT_ONCE = 5_000
_SAYS = frozenset(("content", "structuredContent", "isError"))
# Members of a result that may have no content.
_ABOUT = frozenset(("_meta", "resultType", "ttlMs", "cacheScope"))
# Errors that the SDKs' servers report after the tool has run.
BAD_OUTPUT = re.compile(r"(mcp error -?\d+: )?(output validation error|tool \S+ has an output schema but)", re.I)

UNKNOWN_TOOL = re.compile(r"(mcp error -?\d+: )?(unknown tool|tool \S+ (not found|is disabled|disabled))", re.I)


def read_result(tool: str, raw: Mapping[str, Any]) -> Any:
    """Return `structuredContent`, else the only text parsed as JSON, else `{"text": …, "content": […]}`.

    Raises `CallError`.
    """
    if BARE in raw:
        return _usable(tool, raw[BARE])
    kind, is_error = raw.get("resultType"), raw.get("isError")
    if kind not in (None, "complete"):
        raise CallError.lost(f"the tool {tool!r} wants more input, which it cannot be given here", excerpt(raw))
    if not (is_error is None or isinstance(is_error, bool)) or not (_SAYS & raw.keys() or raw.keys() <= _ABOUT):
        raise CallError.lost(f"the answer of the tool {tool!r} does not say whether it did its work", excerpt(raw))
    content = raw.get("content")
    blocks = [] if content is None else content if isinstance(content, list) else [content]
    blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    text = "\n".join(_texts(blocks))
    structured = raw.get("structuredContent")
    if is_error:
        _raise_failed(tool, text, blocks, structured)
    if structured is not None or ("structuredContent" in raw and not blocks):
        return _usable(tool, structured)
    if len(blocks) == 1 and text and (data := _json(text)) is not None:
        return data[0]
    return _usable(tool, {"text": text, "content": [_kept(block) for block in blocks]})


async def check_structured(tool: str, schema: Mapping[str, Any] | None, raw: Mapping[str, Any]) -> None:
    """Check the data by the tool's `outputSchema`, if the schema can be used. Raises `CallError`."""
    value = raw.get("structuredContent")
    if schema is None or value is None:
        return
    try:
        work = json_schema.places(dict(schema)) * json_schema.weight(value)
        if work > json_schema.MAX_WORK:
            log.warning("an answer is too large to be checked by its outputSchema", extra={"tool": words(tool)})
            return
        check = json_schema.value_errors, dict(schema), value, "structuredContent"
        # The loop serves all other calls meanwhile.
        found = await asyncio.to_thread(_first, *check) if work > _AT_ONCE else _first(*check)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        log.warning("an outputSchema cannot be used: %s", words(str(error))[:200], extra={"tool": words(tool)})
        return
    if found is not None:
        text = f"the tool {tool!r} was executed, but its answer does not fit its outputSchema: {found}"
        raise bad_output(words(text), excerpt(value))


def _first(errors_of: Callable[..., Iterator[FieldError]], *about: Any) -> str | None:
    field_error = next(errors_of(*about), None)
    return None if field_error is None else f"{field_error.path} {field_error.message}"


def excerpt(raw: object) -> str:
    """Return the beginning of a server's text, for the person who has to interpret it."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else encode(raw)
    return words(text)


def _texts(blocks: Iterable[Any]) -> Iterable[str]:
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                yield text


def _raise_failed(tool: str, text: str, blocks: list[Any], structured: Any) -> None:
    if not text.strip():
        resources = [block.get("resource") for block in blocks if isinstance(block, dict)]
        text = "\n".join(part["text"] for part in resources if isinstance(part, dict) and _is_text(part.get("text")))
    if not text.strip() and structured is not None:
        text = encode(structured)
    if not text.strip() and blocks:
        text = encode([_kept(block) for block in blocks])
    if BAD_OUTPUT.match(text):
        raise bad_output(f"the tool {tool!r} was executed: {words(text)}")
    raise tool_failed(words(text) or f"the tool {tool!r} failed without a word")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _json(text: str) -> tuple[Any] | None:
    """Return the value in a tuple, as `null` is a value; None: the text is not JSON."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    # Text that only looks like JSON: NaN, or an integer of 5000 digits.
    return None if next(field_errors(data, ""), None) is not None else (data,)


def _kept(block: Any) -> Any:
    """Return the block as it is, but with the digest and the size instead of binary data."""
    match block:
        case {"type": "image" | "audio", "data": str(data)}:
            return {**{name: value for name, value in block.items() if name != "data"}, **_binary(data)}
        case {"type": "resource", "resource": {"blob": str(data), **rest}}:
            return {**block, "resource": {**rest, **_binary(data)}}
    return block


def _binary(data: str) -> dict[str, Any]:
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        content = data.encode("utf-8", "replace")
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _usable(tool: str, data: Any) -> Any:
    field_error = next(field_errors(data, "output"), None)
    if field_error is not None:
        answer = encode(data).encode("utf-8", "replace").decode()[:MAX_WORDS]
        raise bad_output(f"the tool {tool!r} was executed, but {field_error.path} {field_error.message}", words(answer))
    return data
