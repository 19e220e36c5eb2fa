"""Reading JSON strictly: what another reader would see differently, or not at all, is refused with its place."""

import json
from typing import Any, NoReturn

from flask import Request

from app.problems import EdgeError
from domain import json_value
from domain.errors import Fault, Invalid

# Digits beyond which a number is not worth reading: Python refuses at 4300, and no double holds more than 309.
MAX_DIGITS = 400


class _DuplicateKey(ValueError):
    pass


def read_json(request: Request, *, required: bool) -> Any:
    """The body as a value. An empty body is an empty object where none is required.

    Raises `EdgeError` for what is not JSON (400, 413, 415), `Invalid` for JSON that must not be used.
    """
    raw = request.get_data()
    if not raw and not required:
        return {}
    if request.mimetype != "application/json":
        raise EdgeError(415, "UNSUPPORTED_MEDIA_TYPE", "send the body as JSON, with Content-Type: application/json")
    value = _parse(raw)
    if found := list(json_value.faults(value, "")):
        raise Invalid(found[:20])
    return value


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer, parse_constant=float)
    except UnicodeDecodeError as error:
        _malformed(f"the body is not UTF-8 (byte {error.start})")
    except json.JSONDecodeError as error:
        _malformed(f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})")
    except _DuplicateKey as error:
        raise Invalid([Fault(str(error), "stands twice in one object: readers disagree on which one counts")]) from None
    except RecursionError:
        raise Invalid([Fault("", f"is nested deeper than {json_value.MAX_DEPTH} levels")]) from None


def _malformed(detail: str) -> NoReturn:
    raise EdgeError(400, "MALFORMED_JSON", detail)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DuplicateKey(twice[:200].encode("utf-8", "replace").decode())
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float("inf")
