"""The conditions that keep namespaces apart: which rows a caller sees, and which it manages."""

from sqlalchemy import ColumnElement, Table, true

from domain.identity.access import Principal


def sees(by: Principal, table: Table) -> ColumnElement[bool]:
    """Return a condition: the row's `namespace` is one that the caller has access to."""
    return true() if by.sees_all else table.c.namespace.in_(by.namespaces)


def manages(by: Principal, table: Table) -> ColumnElement[bool]:
    """Return a condition: the caller has access to all of the row's `namespaces`."""
    return true() if by.sees_all else table.c.namespaces.contained_by(list(by.namespaces))
