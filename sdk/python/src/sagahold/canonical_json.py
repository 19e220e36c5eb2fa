"""JSON that every reader reads alike: the check of arguments, the canonical form (RFC 8785), its digest, the reader.

The server computes the same digest. A person approves a digest, so a value whose digest differs never runs.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

MAX_DEPTH = 64
# The integers that a double keeps exactly (RFC 7493).
MAX_INTEGER = 2**53 - 1


def snapshot(value: Any, path: str) -> Any:
    """Return a deep copy of a JSON value. Raise `TypeError` with the place of the first part that is not JSON."""
    for place, problem in _problems(value, path, 1):
        raise TypeError(f"{place} {problem}")
    return json.loads(json.dumps(value))


def digest(value: Any) -> str:
    """Return the SHA-256 of the value's canonical JSON, in hex."""
    return hashlib.sha256(dumps(value).encode()).hexdigest()


def equal(one: Any, other: Any) -> bool:
    """Return whether both are the same JSON. Python's `==` takes true for 1. Other values equal nothing."""
    try:
        return digest(one) == digest(other)
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return False


def dumps(value: Any) -> str:
    """Encode as canonical JSON (RFC 8785)."""
    if isinstance(value, dict):
        # The order is that of UTF-16 code units.
        items = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_text(name)}:{dumps(item)}" for name, item in items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return str(value)
    # A larger integer is a float that a JSON writer has spelled out: 1e22 as 10000000000000000000000.
    return _number(float(value))


def loads(text: bytes) -> Any:
    """Read JSON strictly. Raise `ValueError` for text that readers read differently, such as NaN or a repeated name."""
    try:
        return json.loads(text, parse_constant=_reject, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """Write a float as ECMAScript does: the shortest digits, with an exponent below 1e-6 and from 1e21 on."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # `repr` has the shortest digits that give back the same float.
    _, parts, exponent = Decimal(repr(abs(value))).as_tuple()
    digits = "".join(map(str, parts))
    point = len(digits) + int(exponent)  # the decimal point's place, counted from the first digit
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        whole, fraction = digits[:point].ljust(point, "0"), digits[point:]
        return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"


def _problems(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    # A subclass, such as an enum's member, would come back from the server as its base.
    kind = type(value)
    if kind is str:
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            yield path, "contains NUL or a lone surrogate, which JSON readers reject: remove it"
    elif kind is int and abs(value) > MAX_INTEGER:
        yield path, "is an integer beyond 2^53-1, which JSON readers change silently: pass it as a string"
    elif kind is float and not math.isfinite(value):
        yield path, f"is {value}, which JSON has no number for: pass it as a string"
    elif kind in (dict, list) and depth > MAX_DEPTH:
        yield path, f"is nested deeper than {MAX_DEPTH} levels: flatten it"
    elif kind is dict:
        for name, item in value.items():
            if type(name) is not str:
                yield path, f"has the key {name!r}, and JSON keys are strings"
            else:
                yield from _problems(name, f"{path} (a key)", depth)
                yield from _problems(item, f"{path}.{name}", depth + 1)
    elif kind is list:
        for index, item in enumerate(value):
            yield from _problems(item, f"{path}[{index}]", depth + 1)
    elif kind not in (int, float, bool, type(None)):
        advice = "pass a list" if isinstance(value, tuple) else "pass str, int, float, bool, None, a list or a dict"
        yield path, f"is a {kind.__name__}, which is not JSON: {advice}"


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in an object")
    return found
