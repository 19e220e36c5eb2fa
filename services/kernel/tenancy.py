"""Whose rows a caller sees, and whose it manages: the conditions that keep namespaces apart."""

from sqlalchemy import ColumnElement, Table, true

from domain.identity.access import Principal


def sees(by: Principal, table: Table) -> ColumnElement[bool]:
    """`table`: with a column `namespace`, which says whose a row is."""
    return true() if by.sees_all else table.c.namespace.in_(by.namespaces)


def manages(by: Principal, table: Table) -> ColumnElement[bool]:
    """What reaches no further than the caller. `table`: with a column `namespaces`: how far a row reaches."""
    return true() if by.sees_all else table.c.namespaces.contained_by(list(by.namespaces))
