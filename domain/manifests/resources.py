"""Which MCP resources a reason step may read: URIs, with the step's values in them, and with * at their end.

`docs://guide`, `file:///srv/{project}/readme.md`, `docs://{page}/*` (one more segment), `docs://{page}/**` (all below).
What a model asks for is compared only in a form that every server reads alike: what some would take for a way up, a
separator or somebody's name, however encoded, is not allowed.
"""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

# What servers and their libraries take.
MAX_LENGTH = 2_048
_NAME = re.compile(r"\{([^{}]*)\}")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//([^/?]*))?([^?]*)(\?.*)?")
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
# A dot, a slash, a backslash and what no text has.
_HIDDEN = re.compile(r"%(2e|2f|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[/:;?&=,]")
_PLAIN = re.compile(r"[A-Za-z0-9_~-]")
_WILDCARD = re.compile(r"/\*\*?")


class NotBound(ValueError):
    """A value cannot stand in a URI; the message says which, and why."""


def pattern_error(text: str, given: Collection[str]) -> str | None:
    """Why this pattern cannot be used with values of these names, or None."""
    names = _NAME.findall(text)
    if unknown := sorted(set(names) - set(given)):
        return f"names {{{unknown[0][:100]}}}, which `with` does not give"
    if "{" in text.partition(":")[0]:
        return "is not a URI: it begins with a scheme that is written out, like docs:"
    try:
        _parts(_NAME.sub("x", text))
    except ValueError as error:
        return str(error)
    return None


def bind(patterns: Iterable[str], arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The patterns with the step's arguments in them, percent-encoded. Raises `NotBound`."""
    return tuple(_bound(pattern, arguments) for pattern in patterns)


def allows(patterns: Iterable[str], uri: str) -> bool:
    """Whether one of the bound patterns is, or covers, this URI."""
    try:
        asked = _normal(uri)
    except ValueError:
        return False
    return any(_covers(*_parts(pattern), asked) for pattern in patterns)


def _covers(beginning: str, wildcard: str, asked: str) -> bool:
    if not wildcard:
        return asked == beginning
    rest = asked.removeprefix(beginning)
    if not rest or not asked.startswith(beginning) or "?" in rest:
        return False
    return wildcard == "**" or "/" not in rest


def _bound(pattern: str, arguments: Mapping[str, Any]) -> str:
    found = _NAME.sub(lambda name: _encoded(name[1], arguments.get(name[1])), pattern)
    try:
        _parts(found)
    except ValueError as error:
        raise NotBound(f"resources: {pattern} with the values of this step {error}") from None
    return found


def _encoded(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise NotBound(f"resources: {{{name}}} is neither a text nor a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise NotBound(f"resources: {{{name}}} is not a finite number")
    text = str(value)
    if not text.strip() or not text.isprintable():
        raise NotBound(f"resources: {{{name}}} is blank, or has control characters")
    # Everything else that is a danger still is one when it is encoded; two dots inside of a name are for a server only.
    if ".." in text:
        raise NotBound(f"resources: {{{name}}} has ..")
    return quote(text, safe="")


def _parts(pattern: str) -> tuple[str, str]:
    """What a URI begins with, and * or ** where it may go on. Raises `ValueError`."""
    found = _WILDCARD.search(pattern)
    if found is None:
        beginning, wildcard = pattern, ""
    elif found.end() < len(pattern):
        raise ValueError("has a * before its end: only its last segment may be * or **")
    else:
        beginning, wildcard = pattern[: found.start() + 1], found[0][1:]
    if "*" in beginning:
        raise ValueError("has a * that is not a segment of its own: only the last segment may be * or **")
    if wildcard and "?" in beginning:
        raise ValueError("has a * behind a question mark: only a path goes on")
    return _normal(beginning), wildcard


def _normal(uri: str) -> str:
    """The one form of all the ways to write this URI. Raises `ValueError` for what is read in several ways."""
    if len(uri) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ValueError("is not a URI: it begins with a scheme, like docs:")
    if not _CHARACTERS.fullmatch(uri) or "%" in _ENCODED.sub("", uri):
        raise ValueError("has a character that is not one of a URI, or a #: percent-encode it (%20)")
    scheme, authority, path, query = parts[1], parts[3], parts[4], parts[5] or ""
    if authority is not None and "@" in authority:
        raise ValueError("has an @ in front of its path: leave the user out")
    if _hides(uri) or "//" in path:
        raise ValueError("has . or .. or nothing as a segment, or a dot, a slash or a control character encoded")
    before = f"{scheme}:" if authority is None else f"{scheme}://{authority}"
    return _ENCODED.sub(_plain, before).lower() + _ENCODED.sub(_plain, path + query)


def _hides(text: str) -> bool:
    """Whether decoding, however often, finds a way up, an encoded separator, a control character or what is no text."""
    while "%25" in text and not _HIDDEN.search(text):
        text = text.replace("%25", "%")
    try:
        # Some write two dots as one character.
        decoded = unicodedata.normalize("NFKC", unquote_to_bytes(text).decode("utf-8"))
    except UnicodeError:
        return True
    return _HIDDEN.search(text) is not None or any(part.strip() in (".", "..") for part in _SEPARATORS.split(decoded))


def _plain(encoded: re.Match[str]) -> str:
    """`%61` is a; what has a meaning of its own stays encoded, in capitals."""
    character = chr(int(encoded[1], 16))
    return character if _PLAIN.fullmatch(character) else encoded[0].upper()
