"""Types of command-line values: JSON (inline or from a file), a duration, a header, an idempotency key."""

import json
import re
from pathlib import Path
from typing import Any

import click

NEVER = "never"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN = re.compile(r"([0-9]{1,12})([smhd]?)", re.ASCII)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{8,128}")


class JsonType(click.ParamType[Any]):
    """JSON, or `@file` to read JSON from a file (`@-`: standard input). The server validates the content."""

    name = "JSON|@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = self._read(value[1:], param, ctx) if value.startswith("@") else value
        try:
            return json.loads(text, object_pairs_hook=_object)
        except RecursionError:
            return self.fail("is nested too deeply", param, ctx)
        except ValueError as error:
            return self.fail(f"{value[:40]!r} is not JSON ({error})", param, ctx)

    def _read(self, file: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            with click.open_file(file, encoding="utf-8") as opened:
                return str(opened.read())
        except OSError as error:
            self.fail(f"cannot read {str(Path(file).absolute())!r}: {error.strerror}", param, ctx)
        except UnicodeDecodeError:
            self.fail(f"{file!r} is not text in UTF-8", param, ctx)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject a duplicate name, as the server does, because parsers disagree on which value counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


class SpanType(click.ParamType[int | str]):
    """A duration such as `90`, `90s`, `15m`, `2h` or `7d`, as whole seconds. `never` remains a string."""

    name = "TIME"

    def __init__(self, *, never: bool = False) -> None:
        self._never = never

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if self._never and value == NEVER:
            return NEVER
        found = _SPAN.fullmatch(value)
        if found is None:
            never = " or never" if self._never else ""
            self.fail(f"{value!r} is not a duration: write seconds (3600) or 90s, 15m, 2h, 7d{never}", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


class HeaderType(click.ParamType[tuple[str, str]]):
    """An HTTP header, `Name: value`."""

    name = "'NAME: VALUE'"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, colon, content = value.partition(":")
        if not colon:
            self.fail(f"{value!r} has no colon: write NAME:VALUE", param, ctx)
        return name.strip(), content.strip()


class IdempotencyKeyType(click.ParamType[str]):
    name = "KEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _IDEMPOTENCY_KEY.fullmatch(value):
            self.fail("must have 8 to 128 printable ASCII characters and no spaces", param, ctx)
        return str(value)


JSON = JsonType()
SPAN = SpanType()
SPAN_OR_NEVER = SpanType(never=True)
HEADER = HeaderType()
IDEMPOTENCY_KEY = IdempotencyKeyType()
REVISION = click.option("--revision", type=int, help="Decide only if this is the latest revision.")
