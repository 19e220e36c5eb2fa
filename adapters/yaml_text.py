"""YAML as another notation for JSON: values that JSON lacks or that surprise are rejected with their line.

Only YAML 1.2's core schema applies: `no`, `on` and `12:30` are strings, and `010` is ten. Anchors, aliases and tags are
rejected, because a few lines of aliases can produce a document of any size.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

MAX_DEPTH = 64
# Characters. Parsing takes a few seconds per MiB.
MAX_LENGTH = 512 * 1024
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?\.(inf|Inf|INF))|\.(nan|NaN|NAN)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = ("", "~", "null", "Null", "NULL")
# The longest integer that is parsed; a double holds at most 309 digits.
MAX_DIGITS = 400


def read_yaml(text: str) -> Any:
    """Return the value of the only document in the text. Raises `ValueError` with the line of the problem."""
    found = list(read_documents(text))
    if len(found) != 1:
        raise ValueError(f"has {len(found)} documents (separated by ---), not one")
    return found[0]


def read_documents(text: str) -> Iterator[Any]:
    """Yield the values of all documents that are not empty. Raises `ValueError` with the line of the problem."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH // 1024} thousand characters")
    try:
        # The library has no types.
        loader: Any = yaml.SafeLoader(text)
        try:
            yield from _documents(loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).split("\n")[0]) from None
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from None


def _documents(loader: Any) -> Iterator[Any]:
    loader.get_event()
    while not loader.check_event(yaml.StreamEndEvent):
        loader.get_event()
        value = _value(loader, 1)
        loader.get_event()
        if value is not None:
            yield value


def _value(loader: Any, depth: int) -> Any:
    event = loader.get_event()
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise ValueError(f"line {line}: anchors and aliases (& and *) are not supported; repeat the value")
    if event.tag not in (None, "!"):
        raise ValueError(f"line {line}: tags like {event.tag} are not supported; use a JSON value")
    if depth > MAX_DEPTH:
        raise ValueError(f"line {line}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event.value, line) if event.implicit[0] else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Any] = []
        while not loader.check_event(yaml.SequenceEndEvent):
            items.append(_value(loader, depth + 1))
        loader.get_event()
        return items
    return _object(loader, depth)


def _object(loader: Any, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not loader.check_event(yaml.MappingEndEvent):
        line = loader.peek_event().start_mark.line + 1
        key = _value(loader, depth + 1)
        if not isinstance(key, str):
            raise ValueError(f"line {line}: a key is not a string; put it in quotes")
        if key in found:
            raise ValueError(f"line {line}: {key[:100]!r} occurs twice in one object")
        found[key] = _value(loader, depth + 1)
    loader.get_event()
    return found


def _scalar(text: str, line: int) -> Any:
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"line {line}: {text} is a number that JSON cannot hold")
    if _DATE.fullmatch(text):
        raise ValueError(f"line {line}: {text[:40]} is a date, which JSON does not have; put it in quotes")
    if _INTEGER.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"line {line}: {text[:40]} is a number that JSON cannot hold")
        return number
    return text
