"""The MCP resources that a reason step may read: URI patterns with the step's values, and optionally a final wildcard.

`docs://guide`, `file:///srv/{project}/readme.md`, `docs://{page}/*` (one more segment), `docs://{page}/**` (all below).
A model's URI is compared only in a form that every server reads alike. A URI that some server could read as a parent
directory, a separator or a user name is refused, however it is encoded.
"""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

# The limit of common servers and libraries.
MAX_LENGTH = 2_048
_NAME = re.compile(r"\{([^{}]*)\}")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//([^/?]*))?([^?]*)(\?.*)?")
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
# Encoded dots, slashes, backslashes and control characters.
_HIDDEN = re.compile(r"%(2e|2f|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[/:;?&=,]")
_PLAIN = re.compile(r"[A-Za-z0-9_~-]")
_WILDCARD = re.compile(r"/\*\*?")


class NotBound(ValueError):
    """A value is not usable in a URI. The message names it and the reason."""


def pattern_error(text: str, available: Collection[str]) -> str | None:
    """Return why this pattern is unusable with values of these names, or None."""
    names = _NAME.findall(text)
    if unknown := sorted(set(names) - set(available)):
        return f"names {{{unknown[0][:100]}}}, which is not in `with`: add it there"
    if "{" in text.partition(":")[0]:
        return "is not a URI: begin it with a literal scheme, like docs:"
    try:
        _parts(_NAME.sub("x", text))
    except ValueError as error:
        return str(error)
    return None


def bind(patterns: Iterable[str], arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the patterns with the step's arguments, percent-encoded. Raises `NotBound`."""
    return tuple(_bound(pattern, arguments) for pattern in patterns)


def allows(patterns: Iterable[str], uri: str) -> bool:
    """Return whether one of the bound patterns equals or covers this URI."""
    try:
        normal = _normal(uri)
    except ValueError:
        return False
    return any(_covers(*_parts(pattern), normal) for pattern in patterns)


def _covers(prefix: str, wildcard: str, uri: str) -> bool:
    if not wildcard:
        return uri == prefix
    rest = uri.removeprefix(prefix)
    if not rest or not uri.startswith(prefix) or "?" in rest:
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
    # `_parts` finds any other dangerous value, even encoded. It accepts two dots inside a name, which a server may not.
    if ".." in text:
        raise NotBound(f"resources: {{{name}}} contains ..")
    return quote(text, safe="")


def _parts(pattern: str) -> tuple[str, str]:
    """Return the literal prefix of a pattern, and its final * or **, if any. Raises `ValueError`."""
    found = _WILDCARD.search(pattern)
    if found is None:
        prefix, wildcard = pattern, ""
    elif found.end() < len(pattern):
        raise ValueError("has a * before its end: only its last segment may be * or **")
    else:
        prefix, wildcard = pattern[: found.start() + 1], found[0][1:]
    if "*" in prefix:
        raise ValueError("has a * inside a segment: only the whole last segment may be * or **")
    if wildcard and "?" in prefix:
        raise ValueError("has a * after a question mark: use it only in the path")
    return _normal(prefix), wildcard


def _normal(uri: str) -> str:
    """Return the canonical form of the URI. Raises `ValueError` if servers could read it in several ways."""
    if len(uri) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters: shorten it")
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ValueError("is not a URI: begin it with a scheme, like docs:")
    if not _CHARACTERS.fullmatch(uri) or "%" in _ENCODED.sub("", uri):
        raise ValueError("has a # or a character that is not allowed in a URI: percent-encode it (%20)")
    scheme, authority, path, query = parts[1], parts[3], parts[4], parts[5] or ""
    if authority is not None and "@" in authority:
        raise ValueError("has an @ before its path: leave out the user")
    if _hides(uri) or "//" in path:
        raise ValueError("has an empty, . or .. segment, or an encoded dot, slash or control character: remove it")
    before = f"{scheme}:" if authority is None else f"{scheme}://{authority}"
    return _ENCODED.sub(_plain, before).lower() + _ENCODED.sub(_plain, path + query)


def _hides(text: str) -> bool:
    """Return whether repeated decoding finds a dot segment, a separator, a control character or invalid UTF-8."""
    while "%25" in text and not _HIDDEN.search(text):
        text = text.replace("%25", "%")
    try:
        # One Unicode character looks like two dots.
        decoded = unicodedata.normalize("NFKC", unquote_to_bytes(text).decode("utf-8"))
    except UnicodeError:
        return True
    return _HIDDEN.search(text) is not None or any(part.strip() in (".", "..") for part in _SEPARATORS.split(decoded))


def _plain(encoded: re.Match[str]) -> str:
    """Decode a plain character (`%61` is a). Any other one stays encoded, in capitals."""
    character = chr(int(encoded[1], 16))
    return character if _PLAIN.fullmatch(character) else encoded[0].upper()
