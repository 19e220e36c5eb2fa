"""The conditions that keep namespaces apart: which rows a caller sees, and which it manages."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Table, true

from domain.identity.access import Principal, is_namespace
from domain.values.errors import NotFound


def sees(by: Principal, table: Table) -> ColumnElement[bool]:
    """Return a condition: the row's `namespace` is one that the caller has access to."""
    return true() if by.sees_all else table.c.namespace.in_(by.namespaces)


def check_seen(by: Principal, namespace: str) -> None:
    """Raise `NotFound` unless the text names a namespace that the caller has access to."""
    if not is_namespace(namespace) or not by.sees(namespace):
        raise NotFound(f"there is no namespace {namespace[:64]!r} that this key may see")


def seen_namespaces(by: Principal, named: str | None) -> Sequence[str] | None:
    """Return the namespaces of a list: `named`, or all that the caller sees; None means every namespace."""
    if named is not None:
        return [named] if by.sees(named) else []
    return None if by.sees_all else sorted(set(by.namespaces))


def within(table: Table, namespaces: Sequence[str] | None) -> list[ColumnElement[bool]]:
    """Return the condition on the namespaces of `seen_namespaces`, for an index that checks it."""
    return [] if namespaces is None else [table.c.namespace.in_(namespaces)]


def manages(by: Principal, table: Table) -> ColumnElement[bool]:
    """Return a condition: the caller has access to all of the row's `namespaces`."""
    return true() if by.sees_all else table.c.namespaces.contained_by(list(by.namespaces))
