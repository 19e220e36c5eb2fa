"""The environment of migrations. They run one at a time (an advisory lock), and give up before they block a system."""

import os
import sys

from alembic import context
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

import models.audit
import models.callbacks
import models.definitions
import models.keys
import models.namespaces
import models.notifications
import models.pauses
import models.people
import models.receipts
import models.retention
import models.sagas
import models.webhooks  # noqa: F401  (importing a module registers its tables)
import settings
from migrations.online import LOCK_TIMEOUT, STATEMENT_TIMEOUT
from models.tables import metadata
from services.kernel.pooler import PoolerUnsuitable, shares_sessions

# Any number, the same for every release process.
ADVISORY_LOCK = 0x5A6A401D


def run() -> None:
    # Only the database is needed here: the release process may run where there is no Redis.
    environ = {"REDIS_URL": "redis://not-needed", **os.environ}
    url = settings.load_or_exit(environ).database_url
    _refuse_shared_sessions(url)
    # Without a pool, the advisory lock ends with the connection, also after an error.
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


def _refuse_shared_sessions(url: str) -> None:
    """End the process if a pooler would lose the lock and the timeouts, which a session keeps."""
    try:
        shared = shares_sessions(url)
    except (PoolerUnsuitable, OperationalError) as error:
        why = str(getattr(error, "orig", error)).strip()
    else:
        if not shared:
            return
        why = (
            "DATABASE_URL leads to a pooler that shares sessions, as PgBouncer does in transaction mode. Migrations"
            " need a session of their own: run `sagahold release` with PostgreSQL's own address in DATABASE_URL"
        )
    print(f"sagahold: {why}", file=sys.stderr)
    raise SystemExit(2)


run()
