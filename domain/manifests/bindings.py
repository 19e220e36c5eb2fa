"""Bindings: the arguments of a step, as JSONPath (RFC 9535) over the saga's context.

A path may name places but not compute. The limits on paths bound their work by the size of the context, whatever an
agent has put there.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError
from jsonpath.filter import FunctionExtension, RelativeFilterQuery, RootFilterQuery, walk
from jsonpath.segments import JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.selectors import Filter, NameSelector

from domain.manifests.definition import Binding
from domain.values.errors import FieldError

# Far beyond the paths that people write, which have some tens of characters.
MAX_LENGTH = 500
# Compiled paths in a process's cache, about a kilobyte each.
CACHE_SIZE = 2_048
# Strict, without the library's extensions of the standard, so that a manifest means the same to every reader.
_environment = JSONPathEnvironment(strict=True)


def resolve(bindings: Mapping[str, Binding], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments. A path to one place gives its value, or null if there is none; other paths give a list."""
    return {
        name: binding.value if binding.path is None else _at(binding.path, context)
        for name, binding in bindings.items()
    }


def path_error(path: str) -> str | None:
    """Return why this path is unusable, or None."""
    if len(path) > MAX_LENGTH:
        return f"is a JSONPath of more than {MAX_LENGTH} characters: shorten it"
    try:
        compiled = _compiled(path)
    except (JSONPathError, RecursionError, ValueError) as error:
        return f"is not a JSONPath (RFC 9535), like $.input.name: {_first_line(error)}"
    return _unsupported(compiled)


def names_of(path: str) -> tuple[str, ...]:
    """Return the names at the start of a usable path: `$.steps.pay.output[0]` gives steps, pay, output."""
    found: list[str] = []
    for segment in _compiled(path).segments:
        (selector, *more) = segment.selectors
        if more or not isinstance(selector, NameSelector) or isinstance(segment, JSONPathRecursiveDescentSegment):
            break
        found.append(selector.name)
    return tuple(found)


def segments_of(path: str) -> tuple[JSONPathSegment, ...]:
    """Return the segments of a usable path, each with one selector, to follow it before there is a value."""
    return tuple(_compiled(path).segments)


def find(path: str, value: Any) -> Any:
    """Return the value at a usable path, or a list if the path could match several places.

    Raises `LookupError` if a path to one place finds nothing.
    """
    compiled = _compiled(path)
    # A text has no parts, but the library would parse it as JSON.
    found = [value] if not compiled.segments else [] if isinstance(value, str) else compiled.findall(value)
    if not compiled.singular_query():
        return found
    if not found:
        raise LookupError(f"there is nothing at {path}")
    return found[0]


def missing(bindings: Mapping[str, Binding], arguments: Mapping[str, Any]) -> FieldError | None:
    """Return an error for the first required binding that found nothing or null."""
    for name, binding in bindings.items():
        if binding.required and arguments.get(name) is None:
            return FieldError(f"with.{name}", f"is required, and there is nothing at {binding.path}")
    return None


def _at(path: str, context: Mapping[str, Any]) -> Any:
    try:
        return find(path, context)
    except LookupError:
        return None


@lru_cache(CACHE_SIZE)
def _compiled(path: str) -> JSONPath:
    found = _environment.compile(path)
    # Only the library's extensions can join paths to something else.
    assert isinstance(found, JSONPath)
    return found


def _unsupported(compiled: JSONPath) -> str | None:
    segments = compiled.segments
    filters = [s for segment in segments for s in segment.selectors if isinstance(s, Filter)]
    if any(len(tuple(segment.selectors)) > 1 for segment in segments):
        return "selects several places in one pair of brackets: use a binding for each"
    if sum(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in segments) > 1:
        return "has more than one .. : name the places in between"
    if len(filters) > 1:
        return "has more than one filter: join their conditions with &&"
    for part in (part for found in filters for part in walk(found.expression)):
        if isinstance(part, FunctionExtension):
            return "calls a function, which bindings do not support: compute it in a step"
        if isinstance(part, RootFilterQuery):
            return "uses $ inside a filter: use @ instead"
        if isinstance(part, RelativeFilterQuery) and not part.path.singular_query():
            return "has a filter that reads more than one place: name one, like @.price"
    return None


def _first_line(error: Exception) -> str:
    # str(error) fails on an empty path.
    return str(error.args[0] if error.args else type(error).__name__).strip().split("\n")[0][:200]
