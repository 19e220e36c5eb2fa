"""The facts of a reason step: values from the answers of its tools, not from the model's answer."""

from collections.abc import Iterable, Mapping
from typing import Any

from jsonpath import JSONPathError

from domain.manifests import bindings
from domain.manifests.definition import Fact
from domain.values import canonical_json


class FactMissing(ValueError):
    """A fact is missing. The message names it and the reason."""


def take(facts: Iterable[Fact], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return each fact by its name, those of a group below the group's name. Raises `FactMissing`.

    `answers` has the last successful answer of each tool.
    """
    found: dict[str, Any] = {}
    for fact in facts:
        if fact.group is None:
            found[fact.name] = _taken(fact, answers)
        elif fact.tool in answers:
            found.setdefault(fact.group, {})[fact.name] = _taken(fact, answers)
    if canonical_json.size(found) > canonical_json.MAX_BYTES:
        raise FactMissing(f"the facts are larger than {canonical_json.MAX_BYTES // 1024} KiB: name smaller places")
    return found


def _taken(fact: Fact, answers: Mapping[str, Any]) -> Any:
    if fact.tool not in answers:
        raise FactMissing(f"{fact.name}: the model made no successful call of {fact.tool}")
    try:
        found = bindings.find(fact.path, answers[fact.tool])
    except LookupError:
        raise FactMissing(f"{fact.name}: the last answer of {fact.tool} has nothing at {fact.path}") from None
    except (JSONPathError, RecursionError) as error:
        raise FactMissing(f"{fact.name}: {fact.path} cannot be followed: {type(error).__name__}") from None
    if (field_error := next(canonical_json.field_errors(found, fact.name), None)) is not None:
        raise FactMissing(f"{field_error.path}: the answer of {fact.tool} {field_error.message}")
    return found
