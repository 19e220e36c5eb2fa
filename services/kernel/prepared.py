"""Server-side prepared statements: PostgreSQL parses and plans a hot statement once for each connection.

A statement opts in by `.execution_options(prepared=True)`. Only a statement that is built once may: each text stays on
its connections until they are closed. The first use on a connection sends PREPARE and EXECUTE in one message, later
uses send EXECUTE alone.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

import psycopg2
from sqlalchemy import Connection, Engine, event
from sqlalchemy.types import NullType

from services.kernel.pooler import parameters_of

log = logging.getLogger(__name__)

# Statements that one connection keeps, about 0.03 MB each. We have fewer; the limit holds if a text should ever vary.
LIMIT = 100
# The server does not have the statement, or has it already: a pooler gave the session to another client.
_LOST = ("26000", "42P05")
# A migration changed the type of a column. The statement fails until it is prepared again.
_STALE = "0A000"
# The key of `_Session` in the pool's record of a connection.
_SESSION = "prepared statements"


class StatementLost(psycopg2.OperationalError):  # type: ignore[misc]
    """A prepared statement is gone or stale. Nothing was done, and a retry prepares it again or sends its plain text.

    As an error of the driver without a state it counts as a broken connection.
    """


@dataclass(frozen=True, slots=True)
class PreparedStatement:
    """A statement with a fixed text.

    Attributes:
        name: a digest of the text and the types. It means the same in every session, even if a pooler mixes them up.
        prepare: as the server gets it.
        execute: with the driver's placeholders.
    """

    plain: str
    name: str
    prepare: str
    execute: str


# A statement with the values of its parameters.
Filled = tuple[PreparedStatement, Any]


class _Registry:
    """The state that the connections of one engine share.

    Attributes:
        is_on: whether statements are prepared. A pooler that does not keep sessions ends it.
        generation: statements that were prepared in an earlier one are stale.
    """

    def __init__(self, is_on: bool) -> None:
        self.is_on = is_on
        self.generation = 0
        self.of_compiled: WeakKeyDictionary[Any, PreparedStatement] = WeakKeyDictionary()


class _Session:
    """The statements that one connection has prepared.

    Attributes:
        unsure: a PREPARE may have failed. It is not transactional, so a rollback does not tell.
    """

    def __init__(self, registry: _Registry) -> None:
        self._registry = registry
        self._generation = registry.generation
        self._names: set[str] = set()
        self._unsure = False

    def execute(self, cursor: Any, statements: Sequence[Filled], then: str | None = None) -> None:
        """Execute the statements and `then` in one message. Raise `StatementLost`, or an error of the driver."""
        message: list[bytes] = []
        if self._unsure or self._generation != self._registry.generation:
            # Unlike DEALLOCATE of a name, it cannot fail.
            message.append(b"DEALLOCATE ALL")
            self._names.clear()
            self._generation = self._registry.generation
        known, new = False, set[str]()
        for statement, parameters in statements:
            is_known = statement.name in self._names
            is_new = not is_known and statement.name not in new
            if not self._registry.is_on or (is_new and len(self._names) + len(new) >= LIMIT):
                message.append(cursor.mogrify(statement.plain, parameters))
                continue
            known = known or is_known
            if is_new:
                new.add(statement.name)
                message.append(statement.prepare.encode())
            message.append(cursor.mogrify(statement.execute, parameters))
        if then is not None:
            message.append(then.encode())
        self._unsure = bool(new)
        try:
            cursor.execute(b"; ".join(message))
        except psycopg2.Error as error:
            if error.pgcode in _LOST or (known and error.pgcode == _STALE):
                self._give_up(error)
            raise
        self._names |= new
        self._unsure = False

    def _give_up(self, error: psycopg2.Error) -> None:
        why = str(error).partition("\n")[0]
        if error.pgcode == _STALE:
            self._registry.generation += 1
            log.warning("all statements will be prepared again: a migration has changed a table", extra={"why": why})
        elif self._registry.is_on:
            self._registry.is_on = False
            log.error(
                "statements are no longer prepared: a pooler between this process and PostgreSQL does not keep"
                " sessions. Set SAGAHOLD_PREPARED_STATEMENTS=false",
                extra={"why": why},
            )
        raise StatementLost(f"a prepared statement was lost: {why}") from error


def prepare_statements(engine: Engine, *, is_on: bool) -> None:
    """Prepare the statements of this engine that opt in. Send their plain texts if it is not on, or after a pooler."""
    registry = _Registry(is_on)

    def connected(_: Any, record: Any) -> None:
        if parameters_of(record.info):
            registry.is_on = False
        record.info[_SESSION] = _Session(registry)

    def execute(cursor: Any, text: str, parameters: Any, context: Any) -> bool:
        """Execute the statement. Return False if SQLAlchemy must execute it."""
        compiled = context.compiled
        # A text with values in it, such as a list of any length or many rows, differs from the compiled one.
        if compiled is None or "prepared" not in context.execution_options or text != compiled.string:
            return False
        statement = registry.of_compiled.get(compiled)
        if statement is None:
            statement = registry.of_compiled[compiled] = of_compiled(compiled)
        execute_by_driver(context.root_connection, cursor, [(statement, parameters)])
        return True

    event.listen(engine, "connect", connected)
    event.listen(engine, "do_execute", execute)


def execute_by_driver(conn: Connection, cursor: Any, statements: Sequence[Filled], then: str | None = None) -> None:
    """Execute the statements and `then` by the driver's cursor, in one message."""
    session: _Session = conn.info[_SESSION]
    session.execute(cursor, statements, then)


def driver_statement(plain: str, *types: str) -> PreparedStatement:
    """Return a statement whose parameters are `%s`, of these types. It must have no other `%`."""
    numbered = plain
    for number in range(1, len(types) + 1):
        numbered = numbered.replace("%s", f"${number}", 1)
    return _named(plain, numbered, types, ["%s"] * len(types))


_PLACEHOLDER = re.compile(r"%%|%\((.+?)\)s")


def of_compiled(compiled: Any) -> PreparedStatement:
    escaped, types = compiled.escaped_bind_names, compiled.dialect.type_compiler_instance
    binds = {escaped.get(name, name): bind for name, bind in compiled.binds.items()}
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    numbered = _PLACEHOLDER.sub(number, compiled.string)
    # Explicit types: PostgreSQL cannot infer that of `$1 IS NULL`. It infers an unknown one.
    of_each = [binds[name].type for name in names]
    declared = ["unknown" if isinstance(each, NullType) else types.process(each) for each in of_each]
    return _named(compiled.string, numbered, declared, [f"%({name})s" for name in names])


def _named(plain: str, numbered: str, types: Sequence[str], values: Sequence[str]) -> PreparedStatement:
    declared = f" ({', '.join(types)})" if types else ""
    name = f"sagahold_{sha256(f'{declared} {numbered}'.encode()).hexdigest()[:24]}"
    given = f" ({', '.join(values)})" if values else ""
    prepare = f"PREPARE {name}{declared} AS {numbered}".replace("%%", "%")
    return PreparedStatement(plain, name, prepare, f"EXECUTE {name}{given}")
