"""JSON values that mean the same to every reader: what is refused at the edge, and the one canonical form.

PostgreSQL's jsonb refuses NUL and lone surrogates, JavaScript changes integers beyond 2**53: a value that some
later reader would refuse or alter is refused here, because what was approved must be exactly what runs.
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
# Of the place of a fault, that is told: enough to find it, however long the keys are.
MAX_PATH = 200
# The integers that a double, and so every JSON reader, keeps exactly (RFC 7493, I-JSON).
MAX_INTEGER = 2**53 - 1
# One each for all: `json.dumps` makes a new one each time.
_encode_anything = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_anything_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def encode(value: object) -> str:
    """Compact. By a library several times as fast as the standard one, which takes what that cannot: integers beyond
    64 bits, lone surrogates."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return _encode_anything(value)


def encode_sorted(value: object) -> str:
    """Compact, with sorted keys: whoever has the same values gets the same text."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return _encode_anything_sorted(value)


def field_errors(value: object, path: str) -> Iterator[FieldError]:
    """Everything wrong with `value`, each with its path (`context.items[2].price`)."""
    for place, message in _field_errors(value, 1):
        yield FieldError(_printable(path + place if path else place.removeprefix(".")), message)


def text_errors(value: str, path: str) -> Iterator[FieldError]:
    if (message := _text_error(value)) is not None:
        yield FieldError(_printable(path), message)


# Places are put together only on the way out of a fault: building one for every value would copy long keys at each.
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
        yield "", f"is nested deeper than {MAX_DEPTH} levels"
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
        return "contains a NUL character"
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        return "contains a lone surrogate, which is no character"
    return None


def _printable(path: str) -> str:
    return path[:MAX_PATH].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def whole(value: Any) -> int | None:
    """None for what is no integer. `216.0` is one, as JSON Schema has it; `true` is not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def size(value: object) -> int:
    """Bytes of the value as compact JSON in UTF-8."""
    return len(encode(value).encode("utf-8", "replace"))


def digest(value: Any) -> bytes:
    """SHA-256 of the canonical JSON (RFC 8785) of what will be executed."""
    try:
        canonical = rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        canonical = rfc8785.dumps(_with_floats(value))
    return hashlib.sha256(canonical).digest()


def _with_floats(value: Any) -> Any:
    """PostgreSQL gives 1e22 back as 10000000000000000000000: the same number, but an integer to Python."""
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    return float(value) if isinstance(value, int) and abs(value) > MAX_INTEGER else value
