"""Servers that were given instead of ours: that they answer is asked before anything is started on them."""

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from adapters.redis import pubsub
from cli.devstack.errors import StackError
from services.kernel.connection_pool import open_engine


def refuse_absent_database(url: str) -> None:
    """Raises `StackError`, as `refuse_absent_redis` does."""
    engine = open_engine(url, pool_size=1, name="up")
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        raise StackError(f"DATABASE_URL: {why_absent(error)}: start it, or correct the variable") from None
    finally:
        engine.dispose()


def refuse_absent_redis(url: str) -> None:
    try:
        with pubsub.connect(url) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        raise StackError(f"REDIS_URL: {why_absent(error)}: start it, or correct the variable") from None


def why_absent(error: Exception) -> str:
    """The first line of what the driver says, without the library's words around it."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.split("\n")[0].rstrip(".")
