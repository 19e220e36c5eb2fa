"""Poolers between this process and PostgreSQL, such as PgBouncer.

In transaction mode each transaction may run in another session of the server. Behind a pooler, the parameters that a
session usually keeps therefore go with each transaction, and no statement is prepared.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

log = logging.getLogger(__name__)

# PgBouncer's answer to a startup parameter that it cannot pass on.
_REFUSED = "unsupported startup parameter"
# The key, in the pool's record of a connection, of the statements that set the parameters of a transaction.
_PARAMETERS = "parameters of a transaction"
# Connections that look for the session of another one. PgBouncer hands out the one that was used last, so the first
# finds it unless other clients are quicker.
_SEEKERS = 3
DEFAULT_PORT = "5432"


class PoolerUnsuitable(psycopg2.OperationalError):  # type: ignore[misc]
    """The pooler is in a mode that cannot work, so that a person must change a setting."""


def set_parameters(engine: Engine, parameters: Mapping[str, str]) -> None:
    """Set these parameters of the server for all transactions of the engine.

    Without a pooler they are set at the start of a session, and cost nothing afterwards.
    """
    at_start = " ".join(f"-c {name}={value}" for name, value in parameters.items())
    with_each = "".join(f"SET LOCAL {name} = '{value}'; " for name, value in parameters.items())
    refused: list[str] = []
    noted: list[bool] = []

    def connect(dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> Any:
        given = named.pop("options", "")
        try:
            options = given if refused else f"{given} {at_start}".strip()
            driver = dialect.connect(*arguments, **named, options=options)
        except psycopg2.OperationalError as error:
            # The user's own options cannot be left out without a word.
            if given or _REFUSED not in str(error):
                raise
            driver = dialect.connect(*arguments, **named)
            refused.append(str(error))
        # A pooler may also ignore the parameters, if its settings say so.
        if refused or is_pooled(driver):
            # PgBouncer reports whether its server takes changes as it was some time ago, and libpq believes it.
            others = _others(driver, named)
            if others and _is_read_only(driver):
                driver.close()
                return connect(dialect, record, arguments, named | others | ({"options": given} if given else {}))
            refuse_statement_mode(driver)
            record.info[_PARAMETERS] = with_each
            if not noted:
                noted.append(True)
                log.info(
                    "a pooler is in front of PostgreSQL: limits go with each transaction, statements are not prepared"
                )
        return driver

    event.listen(engine, "do_connect", connect)


def parameters_of(info: Mapping[Any, Any]) -> str:
    """Return the statements that must begin each transaction of the connection, or the empty text without a pooler.

    `info`: of the connection, or of its record in the pool.
    """
    text: str = info.get(_PARAMETERS, "")
    return text


@contextmanager
def autocommitting(driver: Any) -> Iterator[None]:
    """Let the driver begin no transaction by itself. Its flag sends nothing."""
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = False


def is_pooled(driver: Any) -> bool:
    """Return whether the server that answers is not the one that accepted the connection, by their process ids."""
    with autocommitting(driver):
        return bool(_session(driver) != driver.get_backend_pid())


def refuse_statement_mode(driver: Any) -> None:
    """Raise `PoolerUnsuitable` if the pooler lets no transaction have two statements."""
    try:
        with autocommitting(driver), driver.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("ROLLBACK")
    except psycopg2.Error as error:
        # PgBouncer ends the connection. Some versions say why only in their log.
        if not driver.closed:
            raise
        raise PoolerUnsuitable(
            "DATABASE_URL leads to a pooler that ends a connection at BEGIN, as PgBouncer does in statement mode:"
            " set pool_mode = transaction there, or name PostgreSQL's own address"
        ) from error


def shares_sessions(url: str) -> bool:
    """Return whether the address leads to a pooler that gives a session to others between two transactions.

    Two connections that see one process of the server prove it. Raise the driver's errors, by SQLAlchemy.
    """
    engine = create_engine(url, poolclass=NullPool)
    with ExitStack() as opened:

        def connect() -> Any:
            connection: Connection = opened.enter_context(engine.connect())
            return connection.connection.driver_connection

        own = connect()
        if not is_pooled(own):
            return False
        refuse_statement_mode(own)
        own.autocommit = True
        session = _session(own)
        for _ in range(_SEEKERS):
            # The transaction of each seeker stays open, so that the next one gets another session.
            if _session(connect()) == session or _session(own) != session:
                return True
    return False


def _others(driver: Any, named: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the hosts and ports of DATABASE_URL without the connection's own, or None if there are no others."""
    hosts, ports = (str(named.get(name, "")).split(",") for name in ("host", "port"))
    places = list(zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True))
    here = driver.info.host, str(driver.info.port)
    rest = [(host, port) for host, port in places if (host, port or DEFAULT_PORT) != here]
    if not 0 < len(rest) < len(places):
        return None
    return {name: ",".join(values) for name, values in zip(("host", "port"), zip(*rest, strict=True), strict=True)}


def _is_read_only(driver: Any) -> bool:
    with autocommitting(driver), driver.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        return bool(cursor.fetchone()[0] == "on")


def _session(driver: Any) -> Any:
    with driver.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]
