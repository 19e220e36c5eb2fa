"""Statements that are compiled once and executed together, as one message to the server.

SQLAlchemy's own way to execute a statement costs as much as the server's, and a round trip for each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Delete, Dialect, Insert, Update

from services.kernel.prepared import Filled, PreparedStatement, of_compiled

Write = Insert | Update | Delete


@dataclass(frozen=True, slots=True)
class CompiledWrite:
    """A statement with named parameters, the values that it has itself, and what converts each one."""

    statement: PreparedStatement
    own: Mapping[str, Any]
    converters: Mapping[str, Callable[[Any], Any]]

    def fill(self, values: Mapping[str, Any]) -> Filled:
        """Return the statement with these values. Raise `KeyError` if one is missing."""
        filled = {**self.own, **values}
        for name, convert in self.converters.items():
            filled[name] = convert(filled[name])
        return self.statement, filled


_compiled: WeakKeyDictionary[Dialect, WeakKeyDictionary[Write, CompiledWrite]] = WeakKeyDictionary()


def compiled(statement: Write, dialect: Dialect) -> CompiledWrite:
    of_dialect = _compiled.setdefault(dialect, WeakKeyDictionary())
    found = of_dialect.get(statement)
    if found is None:
        found = of_dialect[statement] = _compile(statement, dialect)
    return found


def _compile(statement: Write, dialect: Dialect) -> CompiledWrite:
    made = statement.compile(dialect=dialect)
    binds = {name: bind for bind, name in made.bind_names.items()}
    processors = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in binds.items()}
    own = {name: bind.effective_value for name, bind in binds.items() if not bind.required}
    return CompiledWrite(of_compiled(made), own, {name: of for name, of in processors.items() if of is not None})
