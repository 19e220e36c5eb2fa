"""The changes that an edit makes to a JSON value, place by place."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.values import canonical_json


class ChangeKind(StrEnum):
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `old` is None for an added value, `new` for a removed one; `kind` distinguishes that from null."""

    path: str
    kind: ChangeKind
    old: Any = None
    new: Any = None

    @property
    def retyped(self) -> tuple[str, str] | None:
        """The old and the new type, if they differ: "3" and 3 look alike."""
        if self.kind is not ChangeKind.CHANGED:
            return None
        types = _type(self.old), _type(self.new)
        return None if types[0] == types[1] else types


def _type(value: Any) -> str:
    names: dict[type, str] = {bool: "boolean", str: "text", list: "list", dict: "object", type(None): "null"}
    return names.get(type(value), "number")


def differences(old: Any, new: Any, path: str) -> Iterator[Change]:
    """Yield the changes, none for values with the same digest, which execute alike. `path`: the name of the value."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _object_changes(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        for place in range(max(len(old), len(new))):
            yield from _entry_changes(old[place : place + 1], new[place : place + 1], f"{path}[{place}]")
    elif canonical_json.digest(old) != canonical_json.digest(new):
        yield Change(path, ChangeKind.CHANGED, old, new)


def _object_changes(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[Change]:
    for key in (*old, *(key for key in new if key not in old)):
        before = [old[key]] if key in old else []
        after = [new[key]] if key in new else []
        yield from _entry_changes(before, after, f"{path}.{key}")


def _entry_changes(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    if not before:
        yield Change(path, ChangeKind.ADDED, new=after[0])
    elif not after:
        yield Change(path, ChangeKind.REMOVED, old=before[0])
    else:
        yield from differences(before[0], after[0], path)
