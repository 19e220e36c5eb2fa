"""Where the arguments of a step come from: JSONPath (RFC 9535) over the saga's context.

A path may name places, not compute: what it may ask for is limited so that its work is at most the size of the
context, whatever an agent has put there.
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

# A path names a place: those that people write have some tens of characters.
MAX_LENGTH = 500
# Compiled paths that a process remembers: about a kilobyte each.
REMEMBERED = 2_048
# Without the library's extensions of the standard: a manifest means the same wherever it is read.
_environment = JSONPathEnvironment(strict=True)


def resolve(bindings: Mapping[str, Binding], context: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments. A path to one place gives its value, null where there is none; any other path gives a list."""
    return {
        name: binding.value if binding.path is None else _at(binding.path, context)
        for name, binding in bindings.items()
    }


def path_error(path: str) -> str | None:
    """Why this path cannot be used, or None."""
    if len(path) > MAX_LENGTH:
        return f"is a JSONPath of more than {MAX_LENGTH} characters"
    try:
        compiled = _compiled(path)
    except (JSONPathError, RecursionError, ValueError) as error:
        return f"is not a JSONPath (RFC 9535), like $.input.name: {_first_line(error)}"
    return _too_much(compiled)


def names_of(path: str) -> tuple[str, ...]:
    """The names that a usable path begins with: `$.steps.pay.output[0]` gives steps, pay, output."""
    found: list[str] = []
    for segment in _compiled(path).segments:
        (selector, *more) = segment.selectors
        if more or not isinstance(selector, NameSelector) or isinstance(segment, JSONPathRecursiveDescentSegment):
            break
        found.append(selector.name)
    return tuple(found)


def segments_of(path: str) -> tuple[JSONPathSegment, ...]:
    """The parts of a usable path, for who follows it where there is no value yet. Each has one selector."""
    return tuple(_compiled(path).segments)


def find(path: str, value: Any) -> Any:
    """What a usable path leads to in the value: one thing, or the list of them where it could be several.

    Raises `LookupError` where a path to one place finds nothing.
    """
    compiled = _compiled(path)
    # The library would read a text as JSON; inside of one there is nothing to be found.
    found = [value] if not compiled.segments else [] if isinstance(value, str) else compiled.findall(value)
    if not compiled.singular_query():
        return found
    if not found:
        raise LookupError(f"there is nothing at {path}")
    return found[0]


def missing(bindings: Mapping[str, Binding], arguments: Mapping[str, Any]) -> FieldError | None:
    """The first required binding that found nothing, or null."""
    for name, binding in bindings.items():
        if binding.required and arguments.get(name) is None:
            return FieldError(f"with.{name}", f"is required, and there is nothing at {binding.path}")
    return None


def _at(path: str, context: Mapping[str, Any]) -> Any:
    try:
        return find(path, context)
    except LookupError:
        return None


@lru_cache(REMEMBERED)
def _compiled(path: str) -> JSONPath:
    found = _environment.compile(path)
    # Without extensions there is nothing that would join paths.
    assert isinstance(found, JSONPath)
    return found


def _too_much(compiled: JSONPath) -> str | None:
    segments = compiled.segments
    filters = [s for segment in segments for s in segment.selectors if isinstance(s, Filter)]
    if any(len(tuple(segment.selectors)) > 1 for segment in segments):
        return "asks for several things in one pair of brackets: use a binding for each"
    if sum(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in segments) > 1:
        return "has more than one .. : name the places in between"
    if len(filters) > 1:
        return "has more than one filter: join their conditions with &&"
    for part in (part for found in filters for part in walk(found.expression)):
        if isinstance(part, FunctionExtension):
            return "calls a function, which bindings do not do: compute it in a step"
        if isinstance(part, RootFilterQuery):
            return "looks at $ inside of a filter: only @ may stand there"
        if isinstance(part, RelativeFilterQuery) and not part.path.singular_query():
            return "has a filter that looks at more than one place: name it, like @.price"
    return None


def _first_line(error: Exception) -> str:
    # Not str(error): where it tells the place, it fails on an empty path.
    return str(error.args[0] if error.args else type(error).__name__).strip().split("\n")[0][:200]
