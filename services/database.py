"""The connection pool, and the limits that keep one slow statement from holding up the rest."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.json_value import encode

# A statement, a wait for a lock, or a transaction left open beyond these is a fault, not patience. Milliseconds.
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_SECONDS = 3
# How long a request waits for a free connection before it is told to come back (503). When 1,000 held requests are
# woken at once, the last one's turn comes after seconds.
POOL_TIMEOUT_SECONDS = 10
# SQLSTATEs, or their classes, of what is neither the caller's mistake nor ours: connection lost, server stopped or
# full, statement or lock took too long, or two transactions stood in each other's way.
_PASSING_STATES = ("08", "57", "53", "55P03", "40P01")


class DatabaseAway(Exception):
    """The database cannot be reached, is stopping, or is too busy. The same again a little later may well succeed."""


@contextmanager
def telling_absence() -> Iterator[None]:
    """Raises `DatabaseAway` in place of the many errors, of driver and pool, that mean just that."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseAway("no connection was free in time") from error
    except (DBAPIError, psycopg2.Error) as error:
        if not _passes(error):
            raise
        cause = getattr(error, "orig", error)
        state = getattr(cause, "pgcode", None)
        raise DatabaseAway(f"SQLSTATE {state}" if state else str(cause).partition("\n")[0]) from error


def _passes(error: DBAPIError | psycopg2.Error) -> bool:
    if getattr(error, "connection_invalidated", False):
        return True
    cause = getattr(error, "orig", error)
    if state := getattr(cause, "pgcode", None):
        return str(state).startswith(_PASSING_STATES)
    # Errors without a state come from the driver: it could not connect, or the connection broke. Of one that breaks in
    # a COMMIT it says no more than DatabaseError, of which all that have a state are kinds.
    broke = isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)
    return broke or type(cause) is psycopg2.DatabaseError


def open_engine(url: str, pool_size: int, name: str) -> Engine:
    """`name` shows in pg_stat_activity. Nothing connects before the first query."""
    timeouts = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} -c timezone=UTC"
    )
    return create_engine(
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
