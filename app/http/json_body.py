"""A strict JSON reader that rejects values which other readers would read differently, with their paths."""

import json
import math
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from app.http.problems import HTTPProblem
from domain.values import canonical_json
from domain.values.errors import FieldError, Invalid

MAX_BODY_BYTES = 1024 * 1024
# The maximum digits of a number. Python refuses 4300, and no double has more than 309.
MAX_DIGITS = 400
# The maximum number of field errors in a response.
MAX_FIELD_ERRORS = 20


class _DuplicateKey(ValueError):
    pass


def read_json(request: Request, *, required: bool, exact: bool = False) -> Any:
    """Read the body. An empty body is an empty object if no body is required.

    Args:
        exact: return a number that no double holds as its text, instead of refusing or rounding it.

    Raises `HTTPProblem` for a body that is not JSON (400, 413, 415), and `Invalid` for unusable JSON.
    """
    raw = _raw(request)
    if not raw and not required:
        return {}
    if request.mimetype != "application/json":
        raise HTTPProblem(415, "UNSUPPORTED_MEDIA_TYPE", "send the body as JSON, with Content-Type: application/json")
    reader = _Reader(exact=exact)
    value = reader.read(raw)
    if reader.suspicious and (found := list(islice(canonical_json.field_errors(value, ""), MAX_FIELD_ERRORS))):
        raise Invalid(found)
    return value


def _raw(request: Request) -> bytes:
    raw = request.get_data()
    # The server truncates a body without a length at the limit, without an error.
    if request.content_length is None and len(raw) >= MAX_BODY_BYTES:
        # Unread data would reset the connection and lose the response, so read some more.
        request.environ["wsgi.input"].read(MAX_BODY_BYTES)
        raise RequestEntityTooLarge
    return raw


def read_text(text: str, place: str) -> Any:
    """Read JSON from a form field under the same rules. `place` is its name in errors.

    Raises `Invalid`; for a syntax error, with the line and column.
    """
    reader = _Reader()
    try:
        value = reader.read(text.encode("utf-8", "replace"))
    except HTTPProblem as error:
        raise Invalid([FieldError(place, error.detail.removeprefix("the body "))]) from None
    except Invalid as invalid:
        raise Invalid(
            [FieldError(f"{place}.{f.path}" if f.path else place, f.message) for f in invalid.field_errors]
        ) from None
    found = list(islice(canonical_json.field_errors(value, place), MAX_FIELD_ERRORS)) if reader.suspicious else []
    if canonical_json.size(value) > canonical_json.MAX_BYTES:
        found.append(FieldError(place, f"is larger than {canonical_json.MAX_BYTES // 1024} KiB"))
    if found:
        raise Invalid(found)
    return value


class _Reader:
    """A parser that notes whether `canonical_json.field_errors` can find errors; that check is as slow as parsing."""

    def __init__(self, *, exact: bool = False) -> None:
        self.suspicious = False
        self._exact = exact

    def read(self, raw: bytes) -> Any:
        # Only an escape can produce a NUL or a lone surrogate.
        self.suspicious = b"\\u" in raw or raw.count(b"{") + raw.count(b"[") > canonical_json.MAX_DEPTH
        try:
            return json.loads(
                raw.decode("utf-8"),
                object_pairs_hook=_object,
                parse_int=self._integer,
                parse_float=self._float,
                parse_constant=self._constant,
            )
        except UnicodeDecodeError as error:
            _malformed(f"the body is not UTF-8 (byte {error.start})")
        except json.JSONDecodeError as error:
            _malformed(f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})")
        except _DuplicateKey as error:
            field_error = FieldError(
                str(error), "occurs twice in one object; JSON readers disagree on which one counts"
            )
            raise Invalid([field_error]) from None
        except RecursionError:
            raise Invalid([FieldError("", f"is nested deeper than {canonical_json.MAX_DEPTH} levels")]) from None

    def _integer(self, digits: str) -> int | float | str:
        value = int(digits) if len(digits) <= MAX_DIGITS else float("inf")
        safe = abs(value) <= canonical_json.MAX_INTEGER
        if self._exact and not safe:
            return digits
        self.suspicious |= not safe
        return value

    def _float(self, text: str) -> float | str:
        value = float(text)
        if self._exact and not _holds(value, text):
            return text
        self.suspicious |= not math.isfinite(value)
        return value

    def _constant(self, text: str) -> float:
        self.suspicious = True
        return float(text)


def _holds(value: float, text: str) -> bool:
    """Return whether the double, as JSON writers write it, is the number in the text."""
    try:
        return math.isfinite(value) and Decimal(repr(value)) == Decimal(text)
    except InvalidOperation:
        # An exponent beyond those of Decimal.
        return False


def _malformed(detail: str) -> NoReturn:
    raise HTTPProblem(400, "MALFORMED_JSON", detail)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found = {}
    for name, value in pairs:
        if name in found:
            raise _DuplicateKey(name[:200].encode("utf-8", "replace").decode())
        found[name] = value
    return found
