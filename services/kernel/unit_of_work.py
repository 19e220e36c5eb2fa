"""The only place that commits. A use case changes rows inside `Database.transaction`; what others must hear of it
(hints to workers, wake-ups of waiting agents) leaves only after the commit, and is only ever a hint: when it is lost,
the rows are still there and a sweep finds them.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, Engine, bindparam, func, select
from sqlalchemy.exc import DBAPIError

from domain.identity.access import Principal
from domain.log import audit
from domain.pauses.pause import Pause
from domain.values import ids
from domain.values.network import Network
from services.kernel.connection_pool import READ_ONLY, found_read_only, reporting_unavailability, state_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WakeUp:
    """ "Row `id` of this kind of work may be due".

    Attributes:
        chosen: among all that are due, with an eye to fairness: it goes before those that only came first.
    """

    kind: str
    id: UUID
    chosen: bool = field(default=False, compare=False)


class Publisher(Protocol):
    """Best effort, after the commit; must not block and must not raise."""

    def publish(self, wakeups: Sequence[WakeUp], wakes: Sequence[UUID]) -> None: ...


@dataclass(slots=True)
class UnitOfWork:
    """One open transaction. `now` is the database's clock: the only one that decides anything.

    Attributes:
        began: not after `now`, by this process's own clock (`time.monotonic`).
        ended_holds: pauses that are decided, or over without a decision.
        holder: as in `Database`.
    """

    conn: Connection
    now: datetime
    began: float
    wakeups: list[WakeUp] = field(default_factory=list)
    wakes: list[UUID] = field(default_factory=list)
    entries: list[audit.AuditEntry] = field(default_factory=list)
    ended_holds: list[Pause] = field(default_factory=list)
    holder: bytes = b""

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
        """Write to the audit log, with the commit. `before`, `after`: documents; `by`: None is the system itself."""
        digests = [None if document is None else audit.digest(document) for document in (before, after)]
        entry = audit.AuditEntry(
            namespace, type_, subject, before=digests[0], after=digests[1], details=details or None
        )
        self.entries.append(entry if by is None else replace(entry, by=by.id, by_name=by.name, where=by.where))

    def waits_at_most(self, milliseconds: int) -> None:
        """For a lock, from now on: then `DatabaseAway`, of a kind that may be a row's."""
        self.conn.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")

    def wait_for_turn(self, what: str) -> None:
        """Those who say the same words go one after the other, each until its transaction ends.

        For a row that may not be there yet, and cannot be locked.
        """
        self.conn.execute(_TURN, {"what": what})

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What the block raises undoes only what it did in the database. It must not record or hint."""
        self.conn.exec_driver_sql("SAVEPOINT attempt")
        try:
            yield
        except Exception:
            self.conn.exec_driver_sql("ROLLBACK TO SAVEPOINT attempt")
            raise
        self.conn.exec_driver_sql("RELEASE SAVEPOINT attempt")

    def new_id(self) -> UUID:
        # By the database's clock too: lists are in the order of ids, and machines' clocks differ.
        return ids.uuid7(self.now, random.getrandbits(62))


class ChangeWhileReading(Exception):
    """A fault of ours: changes and locks belong into a transaction."""


class _ReadOnlyCursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    """Its statements may change nothing. In the same message, which is one transaction: that costs no round trip."""

    def execute(self, query: str, vars: Any = None) -> None:
        super().execute(f"SET TRANSACTION READ ONLY; {query}", vars)


@dataclass(frozen=True, slots=True)
class Database:
    """Where use cases work: the database, who hears of changes, and the few settings that rules need.

    Attributes:
        public_url: how the outside reaches this server; links in documents begin with it.
        egress_allow: networks that outbound HTTP may reach although they are not public.
        held: is told of each pause that has ended, after the commit. Must not raise.
        holder: what the tokens of this process's leases begin with; empty where nobody takes them over by it.
    """

    engine: Engine
    publisher: Publisher
    public_url: str
    egress_allow: tuple[Network, ...] = ()
    held: Callable[[Pause], None] | None = None
    holder: bytes = b""

    @contextmanager
    def transaction(self) -> Iterator[UnitOfWork]:
        """Commits when the block ends, rolls back when it raises. Raises `DatabaseAway`.

        When that is raised by the commit itself, nobody knows whether it was carried out.
        """
        with reporting_unavailability(), self._autocommitting() as conn:
            # The driver's cursor: SQLAlchemy's way around these two takes as long as the server does.
            driver: Any = conn.connection.driver_connection
            try:
                with driver.cursor() as cursor:
                    # Both in one round trip; the driver's own way takes one for BEGIN alone.
                    began = time.monotonic()
                    cursor.execute("BEGIN; SELECT clock_timestamp()")
                    uow = UnitOfWork(conn, cursor.fetchone()[0], began, holder=self.holder)
                    yield uow
                    cursor.execute(*_ending(uow))
            except BaseException:
                _roll_back(conn)
                raise
        if uow.wakeups or uow.wakes:
            self.publisher.publish(uow.wakeups, uow.wakes)
        if self.held is not None:
            for pause in uow.ended_holds:
                self.held(pause)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for single statements that change nothing: no BEGIN, no COMMIT, so two round trips less.

        Raises `DatabaseAway`; `ChangeWhileReading` where a statement changes or locks something after all.
        """
        with reporting_unavailability(), self._autocommitting() as conn:
            driver: Any = conn.connection.driver_connection
            driver.cursor_factory = _ReadOnlyCursor
            try:
                yield conn
            except (DBAPIError, psycopg2.Error) as error:
                if state_of(error) == READ_ONLY:
                    raise ChangeWhileReading(str(getattr(error, "orig", error))) from error
                raise
            finally:
                driver.cursor_factory = None

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection on which all statements see the database at one moment. They change nothing.

        Raises `DatabaseAway`.
        """
        with reporting_unavailability(), self._autocommitting() as conn:
            conn.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield conn
            finally:
                _roll_back(conn)

    @contextmanager
    def _autocommitting(self) -> Iterator[Connection]:
        """A connection that begins and commits nothing by itself."""
        with self.engine.connect() as conn:
            # The driver's own flag, which sends nothing. SQLAlchemy's isolation_level sends a SET on the way back into
            # the pool, and where that fails, as the server died, the pool is one connection smaller for good.
            driver: Any = conn.connection.driver_connection
            driver.autocommit = True
            try:
                yield conn
            except (DBAPIError, psycopg2.Error) as error:
                if state_of(error) == READ_ONLY:
                    found_read_only(self.engine)
                raise
            finally:
                if not driver.closed:
                    driver.autocommit = False


_TURN = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("what"), 0)))


def _ending(uow: UnitOfWork) -> tuple[Any, ...]:
    """COMMIT; with the audit log's entries, in the same round trip.

    So the heads of their chains are locked for no longer than a commit takes, and nothing is waited for under that
    lock. In the order of namespaces: two transactions that write to the same two chains would wait for each other.
    """
    if not uow.entries:
        return ("COMMIT",)
    entries = sorted(uow.entries, key=lambda entry: entry.namespace)
    return _RECORD_AND_COMMIT, (
        [entry.namespace for entry in entries],
        [audit.text(entry, uow.now) for entry in entries],
    )


_RECORD_AND_COMMIT = (
    "INSERT INTO audit_events (namespace, entry) SELECT * FROM unnest(%s::text[], %s::text[]::json[]); COMMIT"
)


def _roll_back(conn: Connection) -> None:
    """Or, where that fails, give the connection up: what it has begun must not go back into the pool."""
    if conn.invalidated:
        return
    try:
        conn.exec_driver_sql("ROLLBACK")
    except DBAPIError:
        conn.invalidate()
