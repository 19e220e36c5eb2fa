"""JSON values that mean the same to every reader: the checks on input, and the canonical form.

PostgreSQL's jsonb rejects NUL and lone surrogates. JavaScript changes integers beyond 2**53. A value that any later
reader would reject or alter is rejected here, because exactly what was approved must run.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import orjson
import rfc8785

from domain.values.errors import FieldError

MAX_DEPTH = 64
MAX_BYTES = 256 * 1024
# Characters of the path in a field error: enough to find the place, however long the keys are.
MAX_PATH = 200
# The integers that a double, and so every JSON reader, keeps exactly (RFC 7493, I-JSON).
MAX_INTEGER = 2**53 - 1
# Shared, because `json.dumps` creates an encoder on each call.
_encode_anything = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_anything_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def encode(value: object) -> str:
    """Encode as compact JSON.

    orjson is several times as fast as the standard library, which encodes what orjson rejects: integers beyond 64 bits
    and lone surrogates.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return _encode_anything(value)


def encode_sorted(value: object) -> str:
    """Encode as compact JSON with sorted keys: equal values give the same text."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return _encode_anything_sorted(value)


def field_errors(value: object, path: str) -> Iterator[FieldError]:
    """Yield everything that is wrong with `value`, each error with its path (`context.items[2].price`)."""
    for place, message in _field_errors(value, 1):
        yield FieldError(_printable(path + place if path else place.removeprefix(".")), message)


def text_errors(value: str, path: str) -> Iterator[FieldError]:
    if (message := _text_error(value)) is not None:
        yield FieldError(_printable(path), message)


# Paths are joined only for errors, because joining one for every value would copy long keys at each level.
def _field_errors(value: object, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if (message := _text_error(value)) is not None:
            yield "", message
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            yield "", "is an integer beyond ±(2^53-1), which JSON readers change silently: send it as a string"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield "", "is a number that JSON cannot hold: send it as a string"
    elif isinstance(value, dict | list):
        yield from _container_errors(value, depth)


def _container_errors(value: "dict[str, object] | list[object]", depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        yield "", f"is nested deeper than {MAX_DEPTH} levels: flatten it"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for place, message in _field_errors(item, depth + 1):
                yield f"[{index}]{place}", message
    else:
        for key, item in value.items():
            if (wrong := _text_error(key)) is not None:
                yield " (a key)", wrong
            for place, message in _field_errors(item, depth + 1):
                yield f".{key}{place}", message


def _text_error(value: str) -> str | None:
    if "\x00" in value:
        return "contains a NUL character: remove it"
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        return "contains a lone surrogate, which is not a character: remove it"
    return None


def _printable(path: str) -> str:
    return path[:MAX_PATH].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def whole(value: Any) -> int | None:
    """Return the value as an integer, or None if it is not one. As in JSON Schema, `216.0` is one and `true` is not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def size(value: object) -> int:
    """Return the size of the value in bytes, as compact JSON in UTF-8."""
    return len(encode(value).encode("utf-8", "replace"))


def digest(value: Any) -> bytes:
    """Return the SHA-256 of the value's canonical JSON (RFC 8785)."""
    try:
        canonical = rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        canonical = rfc8785.dumps(_with_floats(value))
    return hashlib.sha256(canonical).digest()


def _with_floats(value: Any) -> Any:
    """Turn large integers back into floats: PostgreSQL returns 1e22 as 10000000000000000000000."""
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    return float(value) if isinstance(value, int) and abs(value) > MAX_INTEGER else value
