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

# A statement, a wait for a lock, or a transaction left open beyond these is a fault, not patience. Milliseconds.
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_SECONDS = 3
# How long a request waits for a free connection before it is told to come back (503). When 1,000 held requests are
# woken at once, the last one's turn comes after seconds.
POOL_TIMEOUT_SECONDS = 10
# A connection to a server that takes no changes is opened anew after this: the address may lead to the new primary by
# now. Not sooner: while a fail-over lasts, each new one leads to a standby too.
STANDBY_KEPT_SECONDS = 1.0
READ_ONLY = "25006"
LOCK_NOT_AVAILABLE = "55P03"
# What a server says of itself to each connection, and says again when it changes.
_IN_RECOVERY = "in_hot_standby"
# SQLSTATEs, or their classes, of what is neither the caller's mistake nor ours, and passes: the same again may succeed.
_PASSING_STATES = {
    "08": "the connection broke",
    READ_ONLY: "it takes no changes: it is a standby, or set to read-only",
    "25P03": "a transaction was left open for too long",
    "25P04": "a transaction took too long",
    "40001": "another transaction changed the same rows",
    "40003": "nobody knows whether a statement was carried out",
    "40P01": "two transactions waited for each other",
    "53": "it lacks memory, disk space or connections",
    LOCK_NOT_AVAILABLE: "another transaction held a lock for too long",
    "57014": "a statement took too long",
    "57": "it was stopped, or is starting",
    "58": "its machine failed",
}
_ABOUT_A_ROW = ("40001", "40P01", LOCK_NOT_AVAILABLE, "57014")


class DatabaseUnavailable(Exception):
    """The database cannot be reached, is stopping, takes no changes, or is too busy. Its words say which. The same
    again a little later may well succeed.

    Attributes:
        may_be_a_rows: it was a lock, or took too long: other rows may be free.
    """

    def __init__(self, why: str = "", state: str | None = None) -> None:
        super().__init__(why)
        self.may_be_a_rows = state in _ABOUT_A_ROW


@contextmanager
def reporting_unavailability() -> Iterator[None]:
    """Raises `DatabaseUnavailable` in place of the many errors, of driver and pool, that mean just that."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("no connection was free in time") from error
    except (DBAPIError, psycopg2.Error) as error:
        if (why := _passing(error)) is None:
            raise
        raise DatabaseUnavailable(why, state_of(error)) from error


def _passing(error: DBAPIError | psycopg2.Error) -> str | None:
    """What stands in the way; None where the same again would fail too."""
    cause = getattr(error, "orig", error)
    if state := state_of(error):
        words = next((words for known, words in _PASSING_STATES.items() if state.startswith(known)), None)
        if words is None and not getattr(error, "connection_invalidated", False):
            return None
        return f"{words or 'the connection broke'} (SQLSTATE {state})"
    # Errors without a state come from the driver: it could not connect, or the connection broke. Of one that breaks in
    # a COMMIT it says no more than DatabaseError, of which all that have a state are kinds.
    broke = isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)
    if broke or type(cause) is psycopg2.DatabaseError or getattr(error, "connection_invalidated", False):
        return str(cause).partition("\n")[0]
    return None


def state_of(error: BaseException) -> str | None:
    """The SQLSTATE, where the server gave one."""
    state = getattr(getattr(error, "orig", error), "pgcode", None)
    return None if state is None else str(state)


def open_engine(url: str, pool_size: int, name: str) -> Engine:
    """`name` shows in pg_stat_activity. Nothing connects before the first query."""
    timeouts = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} -c timezone=UTC"
    )
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # The last used connection first: the others stay idle and can be closed by the server's own means.
        pool_use_lifo=True,
        json_serializer=encode,
        # An error that reaches the log quotes no values: they may be secrets.
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": f"sagahold {name}",
            "options": timeouts,
            # A peer that vanished without a word is noticed within about 15 s.
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 15_000,
        },
    )
    event.listen(engine, "connect", _opened)
    event.listen(engine, "checkout", lambda driver, record, _: _give_up_standby(engine, driver, record))
    return engine


# When each engine's server was last found to take no changes (`time.monotonic`).
_demoted: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()


def found_read_only(engine: Engine) -> None:
    """Give up the connections that are open: they may lead to what was the primary before a fail-over."""
    now = time.monotonic()
    if now >= _demoted.get(engine, float("-inf")) + STANDBY_KEPT_SECONDS:
        _demoted[engine] = now


def _opened(_: Any, record: Any) -> None:
    record.info.update(opened=time.monotonic(), new=True)


def _give_up_standby(engine: Engine, driver: Any, record: Any) -> None:
    """Raises `DisconnectionError`, on which the pool connects anew."""
    if record.info.pop("new", False):
        return  # a better one is not to be had
    opened = record.info["opened"]
    if opened < _demoted.get(engine, float("-inf")):
        raise DisconnectionError("the server was found to take no changes")
    # The driver remembers it: asking costs nothing.
    old = time.monotonic() > opened + STANDBY_KEPT_SECONDS
    if old and not driver.closed and driver.get_parameter_status(_IN_RECOVERY) == "on":
        raise DisconnectionError("the server is a standby")
