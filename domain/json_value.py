"""JSON values that mean the same to every reader: what is refused at the edge, and the one canonical form.

PostgreSQL's jsonb refuses NUL and lone surrogates, JavaScript changes integers beyond 2**53: a value that some
later reader would refuse or alter is refused here, because what was approved must be exactly what runs.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import rfc8785

from domain.errors import Fault

MAX_DEPTH = 64
MAX_BYTES = 256 * 1024
# The integers that a double, and so every JSON reader, keeps exactly (RFC 7493, I-JSON).
MAX_INTEGER = 2**53 - 1


def faults(value: object, path: str) -> Iterator[Fault]:
    """Everything wrong with `value`, each with its path (`context.items[2].price`)."""
    yield from _faults(value, path, 1)


def _faults(value: object, path: str, depth: int) -> Iterator[Fault]:
    if isinstance(value, str):
        yield from text_faults(value, path)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            yield Fault(path, "is an integer beyond ±(2^53-1), which JSON readers change silently: send it as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield Fault(path, "is a number that JSON cannot hold: send it as a string")
    elif isinstance(value, dict | list):
        yield from _container_faults(value, path, depth)


def _container_faults(value: "dict[str, object] | list[object]", path: str, depth: int) -> Iterator[Fault]:
    if depth > MAX_DEPTH:
        yield Fault(path[:200], f"is nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, f"{path}[{index}]", depth + 1)
    else:
        for key, item in value.items():
            yield from text_faults(key, f"{path} (a key)")
            yield from _faults(item, f"{path}.{key}" if path else key, depth + 1)


def text_faults(value: str, path: str) -> Iterator[Fault]:
    if "\x00" in value:
        yield Fault(_printable(path), "contains a NUL character")
    elif not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        yield Fault(_printable(path), "contains a lone surrogate, which is no character")


def _printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def size(value: object) -> int:
    """Bytes of the value as compact JSON in UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def digest(value: Any) -> bytes:
    """SHA-256 of the canonical JSON (RFC 8785) of what will be executed."""
    return hashlib.sha256(rfc8785.dumps(value)).digest()
