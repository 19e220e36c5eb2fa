"""Probes of servers before the stack starts on them."""

from sqlalchemy.exc import SQLAlchemyError

from adapters.redis.connection import UNUSABLE, connect, why_unusable
from cli.devstack.errors import StackError
from services.kernel.connection_pool import open_engine
from services.operations.restores import is_held


def refuse_absent_database(url: str) -> None:
    """Raise `StackError` if the database does not answer."""
    engine = open_engine(url, pool_size=1, name="up")
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        raise StackError(f"DATABASE_URL: {why_absent(error)}: start it, or correct DATABASE_URL") from None
    finally:
        engine.dispose()


def refuse_held_database(url: str) -> None:
    """Raise `StackError` if the database was restored and waits for an operator."""
    engine = open_engine(url, pool_size=1, name="up")
    try:
        with engine.connect() as conn:
            held = is_held(conn)
    finally:
        engine.dispose()
    if held:
        raise StackError("the database is set to read-only, as it is after a restore: run `sagahold resume` first")


def refuse_absent_redis(url: str) -> None:
    """Raise `StackError` if Redis does not answer, or cannot be used."""
    with connect(url) as client:
        if why := why_unusable(client):
            raise StackError(f"REDIS_URL: {with_fix(why)}")


def with_fix(why: str) -> str:
    """Add to the client's error about Redis what to do. Our own errors say it themselves."""
    return why if why in UNUSABLE.values() else f"{why.rstrip('.')}: start it, or correct REDIS_URL"


def why_absent(error: Exception) -> str:
    """Return the first line of the driver's message, without the library's wrapping."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.split("\n")[0].rstrip(".")
