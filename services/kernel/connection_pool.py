"""The connection pool, and the limits that keep one slow statement from holding up the rest."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg2
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.values.canonical_json import encode
from services.kernel.pooler import PoolerUnsuitable, set_parameters
from services.kernel.prepared import prepare_statements

# Milliseconds. A statement, a lock wait or an idle transaction that exceeds these is cancelled.
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
_PARAMETERS = {
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
    "timezone": "UTC",
    # Our statements read few rows: compiling one takes longer than running it.
    "jit": "off",
}
CONNECT_TIMEOUT_SECONDS = 3
# A request that waits longer for a free connection gets a 503. When 1,000 long polls are woken at once, the last one
# waits for some seconds.
POOL_TIMEOUT_SECONDS = 10
# A connection to a read-only server is replaced after this, because the address may lead to the new primary by then.
# An earlier replacement would often reach a standby again while the fail-over lasts.
STANDBY_KEPT_SECONDS = 1.0
READ_ONLY = "25006"
LOCK_NOT_AVAILABLE = "55P03"
# The server reports this parameter on each connection, and again when it changes.
_IN_RECOVERY = "in_hot_standby"
# SQLSTATEs, or their classes, of transient errors: neither the request nor our code is wrong, and a retry may succeed.
_PASSING_STATES = {
    "08": "the connection broke",
    READ_ONLY: "it is read-only: a standby, or set to default_transaction_read_only",
    "25P03": "a transaction was left open for too long",
    "25P04": "a transaction took too long",
    "40001": "another transaction changed the same rows",
    "40003": "it is unknown whether a statement was carried out",
    "40P01": "two transactions waited for each other",
    "53": "it lacks memory, disk space or connections",
    LOCK_NOT_AVAILABLE: "another transaction held a lock for too long",
    "57014": "a statement took too long",
    "57": "it was stopped, or is starting",
    "58": "its machine failed",
}
_ABOUT_A_ROW = ("40001", "40P01", LOCK_NOT_AVAILABLE, "57014")


class DatabaseUnavailable(Exception):
    """The database cannot be reached, is stopping, is read-only, or is too busy. The message says which.

    A retry a little later may succeed.

    Attributes:
        may_be_a_rows: a lock wait, a conflict or a timeout, which may concern one row only.
    """

    def __init__(self, why: str = "", state: str | None = None) -> None:
        super().__init__(why)
        self.may_be_a_rows = state in _ABOUT_A_ROW


class DatabaseUnsuitable(DatabaseUnavailable):
    """No retry helps before a person has changed a setting, which the message names."""


@contextmanager
def reporting_unavailability() -> Iterator[None]:
    """Raise `DatabaseUnavailable` in place of the driver's and the pool's transient errors."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("no connection was free in time") from error
    except (DBAPIError, psycopg2.Error) as error:
        if isinstance(getattr(error, "orig", error), PoolerUnsuitable):
            raise DatabaseUnsuitable(str(getattr(error, "orig", error))) from error
        if (why := _passing(error)) is None:
            raise
        raise DatabaseUnavailable(why, state_of(error)) from error


def _passing(error: DBAPIError | psycopg2.Error) -> str | None:
    """Return why the database failed, or None if a retry would fail as well."""
    cause = getattr(error, "orig", error)
    if state := state_of(error):
        words = next((words for known, words in _PASSING_STATES.items() if state.startswith(known)), None)
        if words is None and not getattr(error, "connection_invalidated", False):
            return None
        return f"{words or 'the connection broke'} (SQLSTATE {state})"
    # Errors without a state come from the driver: it could not connect, or the connection broke. For a connection that
    # breaks during COMMIT, psycopg2 raises a plain DatabaseError. Errors with a state are always subclasses of it.
    broke = isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)
    if broke or type(cause) is psycopg2.DatabaseError or getattr(error, "connection_invalidated", False):
        return str(cause).partition("\n")[0]
    return None


def state_of(error: BaseException) -> str | None:
    """Return the SQLSTATE, or None for an error that the server did not report."""
    state = getattr(getattr(error, "orig", error), "pgcode", None)
    return None if state is None else str(state)


def open_engine(url: str, pool_size: int, name: str, *, prepared: bool = True) -> Engine:
    """Return an engine, which connects at its first query. `name` shows in pg_stat_activity.

    `prepared`: as in `services.kernel.prepared`. Behind a pooler nothing is prepared.
    """
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # The connection used last comes first, so that the others stay idle and an idle timeout can close them.
        pool_use_lifo=True,
        json_serializer=encode,
        # Values may be secrets: keep them out of errors, which are logged.
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": f"sagahold {name}",
            # Detect a peer that vanished within about 15 s.
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 15_000,
        },
    )
    set_parameters(engine, _PARAMETERS)
    event.listen(engine, "connect", _opened)
    event.listen(engine, "checkout", lambda driver, record, _: _give_up_standby(engine, driver, record))
    prepare_statements(engine, is_on=prepared)
    return engine


# When each engine's server was last found to be read-only (`time.monotonic`).
_demoted: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()


def found_read_only(engine: Engine) -> None:
    """Replace the open connections, which may lead to the former primary after a fail-over."""
    now = time.monotonic()
    if now >= _demoted.get(engine, float("-inf")) + STANDBY_KEPT_SECONDS:
        _demoted[engine] = now


def _opened(_: Any, record: Any) -> None:
    record.info.update(opened=time.monotonic(), new=True)


def _give_up_standby(engine: Engine, driver: Any, record: Any) -> None:
    """Raise `DisconnectionError` for a connection that may lead to a standby: the pool then opens another one."""
    if record.info.pop("new", False):
        return  # it was opened just now: another attempt would reach the same server
    opened = record.info["opened"]
    if opened < _demoted.get(engine, float("-inf")):
        raise DisconnectionError("the server was found to be read-only")
    # The driver keeps the last reported value, so this sends no query.
    old = time.monotonic() > opened + STANDBY_KEPT_SECONDS
    if old and not driver.closed and driver.get_parameter_status(_IN_RECOVERY) == "on":
        raise DisconnectionError("the server is a standby")
