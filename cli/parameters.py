"""Values on the command line that are more than a word: JSON (also from a file), a span of time, a header."""

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
    """JSON, or `@file` with JSON in it (`@-`: standard input). What it may say is for the server to judge."""

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
    """The server refuses a name that stands twice, for readers disagree on which one counts; so do we."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


class SpanType(click.ParamType[int | str]):
    """`90`, `90s`, `15m`, `2h`, `7d` in whole seconds; `never` stays the word."""

    name = "TIME"

    def __init__(self, *, never: bool = False) -> None:
        self._never = never

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if self._never and value == NEVER:
            return NEVER
        found = _SPAN.fullmatch(value)
        if found is None:
            words = "neither seconds (3600) nor like 90s, 15m, 2h, 7d" + (", never" if self._never else "")
            self.fail(f"{value!r} is {words}", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


class HeaderType(click.ParamType[tuple[str, str]]):
    """`Name: value`."""

    name = "'NAME: VALUE'"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, colon, content = value.partition(":")
        if not colon:
            self.fail(f"{value!r} has no colon: write it as 'Name: value'", param, ctx)
        return name.strip(), content.strip()


class IdempotencyKeyType(click.ParamType[str]):
    name = "KEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _IDEMPOTENCY_KEY.fullmatch(value):
            self.fail("must have 8 to 128 printable ASCII characters, without blanks", param, ctx)
        return str(value)


JSON = JsonType()
SPAN = SpanType()
SPAN_OR_NEVER = SpanType(never=True)
HEADER = HeaderType()
IDEMPOTENCY_KEY = IdempotencyKeyType()
REVISION = click.option("--revision", type=int, help="The one that you have read; refused if there is a newer one.")
