"""Units of work: the only place that commits. A use case changes rows inside `Database.transaction`.

Wake-ups for workers and for waiting agents are published after the commit. They may be lost: a sweep finds the rows.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, Engine, Executable, Row, bindparam, func, select
from sqlalchemy.exc import DBAPIError

from domain.identity.access import Principal
from domain.log import audit
from domain.pauses.pause import Pause
from domain.values import ids
from domain.values.network import Network
from services.kernel.compiled_writes import Write, compiled
from services.kernel.connection_pool import READ_ONLY, found_read_only, reporting_unavailability, state_of
from services.kernel.pooler import autocommitting, parameters_of
from services.kernel.prepared import Filled, driver_statement, execute_by_driver

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WakeUp:
    """A message to workers: row `id` of this kind of work may be due.

    Attributes:
        chosen: a sweep chose this row fairly among namespaces. It goes before wake-ups that were published on a commit.
    """

    kind: str
    id: UUID
    chosen: bool = field(default=False, compare=False)


class Publisher(Protocol):
    """Publishes wake-ups after a commit, without a guarantee. Must not block or raise."""

    def publish(self, wakeups: Sequence[WakeUp], wakes: Sequence[UUID]) -> None: ...


class NoPublisher:
    """A publisher that drops everything, for work that wakes no worker and no waiting agent."""

    def publish(self, wakeups: Sequence[WakeUp], wakes: Sequence[UUID]) -> None:
        pass


# How much a unit of work has of each kind of what it does at its end.
Mark = tuple[int, ...]


@dataclass(slots=True)
class UnitOfWork:
    """One open transaction.

    Attributes:
        now: the database's time at BEGIN. Rules use no other clock.
        began: no later than `now`, by this process's `time.monotonic`.
        wakeups: for workers, published after the commit.
        wakes: pauses whose long polls are woken after the commit.
        entries: for the audit log, written with the commit.
        ended_pauses: pauses that were decided, or ended without a decision.
        holder: as in `Database`.
        lookups: the connection, for reads of what this transaction does not write.
        found: what was looked up once for the whole transaction.
    """

    lookups: Connection
    now: datetime
    began: float
    wakeups: list[WakeUp] = field(default_factory=list)
    wakes: list[UUID] = field(default_factory=list)
    entries: list[audit.AuditEntry] = field(default_factory=list)
    ended_pauses: list[Pause] = field(default_factory=list)
    holder: bytes = b""
    found: dict[Any, Any] = field(default_factory=dict)
    _writes: list[tuple[Write, Mapping[str, Any]]] = field(default_factory=list)
    _sent: int = 0

    @property
    def conn(self) -> Connection:
        """The connection. Earlier writes are sent first, so that its statements see them."""
        self.send_writes()
        return self.lookups

    def write(self, statement: Write, values: Mapping[str, Any]) -> None:
        """Execute the statement, which returns nothing, before the next one on `conn` or with the commit.

        Together the writes cost one round trip. `statement`: built once, because it is compiled at its first use.
        """
        self._writes.append((statement, values))

    def send_writes(self) -> None:
        if self._writes:
            self._execute(self._take_writes())

    def end(self) -> None:
        """Commit, with the writes and the audit log's entries in the same round trip.

        Entries are linked into their chains later (`services.log.sequencer`), so no transaction waits for another one.
        """
        writes = self._take_writes()
        if self.entries:
            texts = [audit.text(entry, self.now) for entry in self.entries]
            writes.append((_RECORD, ([entry.namespace for entry in self.entries], texts)))
        self._execute(writes, then="COMMIT")

    def mark(self) -> Mark:
        """Return the place from which `forget_since` forgets."""
        return self._sent, *(len(each) for each in self._parts())

    def forget_since(self, mark: Mark) -> bool:
        """Forget what was added since the mark. Return False if a part of it has been sent already."""
        if self._sent != mark[0]:
            return False
        for part, length in zip(self._parts(), mark[1:], strict=True):
            del part[length:]
        return True

    def _parts(self) -> tuple[list[Any], ...]:
        return self._writes, self.wakeups, self.wakes, self.entries, self.ended_pauses

    def _take_writes(self) -> list[Filled]:
        taken, self._writes = self._writes, []
        self._sent += len(taken)
        return [compiled(statement, self.lookups.dialect).fill(values) for statement, values in taken]

    def _execute(self, statements: Sequence[Filled], then: str | None = None) -> None:
        driver: Any = self.lookups.connection.driver_connection
        with driver.cursor() as cursor:
            execute_by_driver(self.lookups, cursor, statements, then)

    def record(
        self,
        by: Principal | None,
        namespace: str,
        type_: str,
        subject: str,
        *,
        before: Any = None,
        after: Any = None,
        **details: Any,
    ) -> None:
        """Add an entry to the audit log, with the commit.

        `by`: None means the system itself. `before`, `after`: documents, of which the log keeps digests.
        """
        digests = [None if document is None else audit.digest(document) for document in (before, after)]
        entry = audit.AuditEntry(
            namespace, type_, subject, before=digests[0], after=digests[1], details=details or None
        )
        self.entries.append(entry if by is None else replace(entry, by=by.id, by_name=by.name, where=by.where))

    def set_lock_timeout(self, milliseconds: int) -> None:
        """Set the lock timeout for the rest of the transaction.

        A statement that exceeds it raises `DatabaseUnavailable` with `may_be_a_rows`.
        """
        self.conn.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")

    def take_advisory_lock(self, what: str, *, shared: bool = False) -> None:
        """Take the advisory lock of this name, until the transaction ends.

        It serialises changes of a row that may not exist yet, and so cannot be locked itself. `shared`: together with
        others that share it.
        """
        self.conn.execute(_SHARED_LOCK if shared else _ADVISORY_LOCK, {"what": what})

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run the block in a savepoint: an error rolls back only its statements.

        The block must not add audit entries or wake-ups, which would stay.
        """
        self.conn.exec_driver_sql("SAVEPOINT attempt")
        try:
            yield
            self.send_writes()
        except Exception:
            self._writes.clear()
            # A broken connection has no savepoint any more. SQLAlchemy's error would hide that it broke.
            if not self.lookups.invalidated:
                self.conn.exec_driver_sql("ROLLBACK TO SAVEPOINT attempt")
            raise
        self.conn.exec_driver_sql("RELEASE SAVEPOINT attempt")

    def new_id(self) -> UUID:
        # By the database's clock, because lists are sorted by id and machines' clocks differ.
        return ids.uuid7(self.now, random.getrandbits(62))


class ChangeWhileReading(Exception):
    """A bug: a statement that changes or locks rows ran outside a transaction."""


class _BeginningCursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    """A cursor that sends `first` before each statement.

    Both are one message, and so one transaction, so it costs no round trip.
    """

    def __init__(self, first: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._first = first

    def execute(self, query: str | bytes, vars: Any = None) -> None:
        super().execute(self._first + query if isinstance(query, str) else self._first.encode() + query, vars)


@dataclass(frozen=True, slots=True)
class Database:
    """The entry point of use cases: the database, the publisher, and the few settings that rules need.

    Attributes:
        public_url: the base of links in documents.
        egress_allow: private networks that outbound HTTP may reach.
        held: called after the commit with each pause that has ended. Must not raise.
        holder: the prefix of this process's lease tokens, by which `leases.release` finds them. Empty in web processes.
    """

    engine: Engine
    publisher: Publisher
    public_url: str
    egress_allow: tuple[Network, ...] = ()
    held: Callable[[Pause], None] | None = None
    holder: bytes = b""

    @contextmanager
    def transaction(self) -> Iterator[UnitOfWork]:
        """Commit when the block ends; roll back when it raises. Raise `DatabaseUnavailable`.

        If the commit itself raises it, it is unknown whether the changes were committed.
        """
        with reporting_unavailability(), self._autocommitting() as conn:
            # The driver's cursor: SQLAlchemy's overhead for these two statements is as long as the server takes.
            driver: Any = conn.connection.driver_connection
            try:
                began = time.monotonic()
                with driver.cursor() as cursor:
                    # One round trip for both. The driver's own BEGIN would take one more.
                    cursor.execute(f"BEGIN; {parameters_of(conn.info)}SELECT clock_timestamp()")
                    now = cursor.fetchone()[0]
                uow = UnitOfWork(conn, now, began, holder=self.holder)
                yield uow
                uow.end()
            except BaseException:
                _roll_back(conn)
                raise
        if uow.wakeups or uow.wakes:
            self.publisher.publish(uow.wakeups, uow.wakes)
        if self.held is not None:
            for pause in uow.ended_pauses:
                self.held(pause)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection for single reading statements. Without BEGIN and COMMIT it saves two round trips.

        Raise `DatabaseUnavailable`, and `ChangeWhileReading` if a statement changes or locks rows.
        """
        with reporting_unavailability(), self._single_statements("SET TRANSACTION READ ONLY; ") as conn:
            try:
                yield conn
            except (DBAPIError, psycopg2.Error) as error:
                if state_of(error) == READ_ONLY:
                    raise ChangeWhileReading(str(getattr(error, "orig", error))) from error
                raise

    def execute_alone(self, statement: Executable, values: Mapping[str, Any]) -> Row[Any]:
        """Execute one statement that is a transaction of its own, and return its only row.

        Its locks last as long as the statement and its commit: no round trip, and no wait of this process.
        Raise `DatabaseUnavailable`.
        """
        with reporting_unavailability(), self._single_statements() as conn:
            return conn.execute(statement, values).one()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a read-only connection on which all statements see one snapshot. Raise `DatabaseUnavailable`."""
        with reporting_unavailability(), self._autocommitting() as conn:
            conn.exec_driver_sql(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {parameters_of(conn.info)}")
            try:
                yield conn
            finally:
                _roll_back(conn)

    @contextmanager
    def rehearsal(self) -> Iterator["Database"]:
        """Yield a database whose units of work share one transaction, which is rolled back. It publishes nothing."""
        with reporting_unavailability(), self._autocommitting() as conn:
            conn.exec_driver_sql(f"BEGIN; {parameters_of(conn.info)}")
            try:
                yield _Rehearsal(self.engine, NoPublisher(), self.public_url, holder=self.holder, conn=conn)
            finally:
                _roll_back(conn)

    @contextmanager
    def _single_statements(self, first: str = "") -> Iterator[Connection]:
        """Yield a connection on which each statement is a transaction that begins with `first`."""
        with self._autocommitting() as conn:
            driver: Any = conn.connection.driver_connection
            if first := parameters_of(conn.info) + first:
                driver.cursor_factory = partial(_BeginningCursor, first)
            try:
                yield conn
            finally:
                driver.cursor_factory = None

    @contextmanager
    def _autocommitting(self) -> Iterator[Connection]:
        """Yield a connection that neither begins nor commits transactions by itself."""
        # SQLAlchemy's isolation_level sends a SET when the connection returns to the pool. If the server died, that
        # fails, and the pool loses a connection for good.
        with self.engine.connect() as conn, autocommitting(conn.connection.driver_connection):
            try:
                yield conn
            except (DBAPIError, psycopg2.Error) as error:
                if state_of(error) == READ_ONLY:
                    found_read_only(self.engine)
                raise


@dataclass(frozen=True, slots=True)
class _Rehearsal(Database):
    conn: Connection = field(kw_only=True)

    @contextmanager
    def transaction(self) -> Iterator[UnitOfWork]:
        now = self.conn.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        uow = UnitOfWork(self.conn, now, time.monotonic(), holder=self.holder)
        yield uow
        uow.send_writes()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        yield self.conn


_NAME = func.hashtextextended(bindparam("what"), 0)
_ADVISORY_LOCK = select(func.pg_advisory_xact_lock(_NAME))
_SHARED_LOCK = select(func.pg_advisory_xact_lock_shared(_NAME))


_RECORD = driver_statement(
    "INSERT INTO audit_unlinked (namespace, entry) SELECT * FROM unnest(%s::text[], %s::text[]::json[])",
    "text[]",
    "text[]",
)


def _roll_back(conn: Connection) -> None:
    """Roll back or, if that fails, discard the connection: an open transaction must not return to the pool."""
    if conn.invalidated:
        return
    try:
        conn.exec_driver_sql("ROLLBACK")
    except DBAPIError:
        conn.invalidate()
