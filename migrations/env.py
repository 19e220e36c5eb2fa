"""The environment of migrations. They run one at a time (an advisory lock), and give up before they block a system."""

import os

from alembic import context
from sqlalchemy import create_engine, text

import models.audit
import models.callbacks
import models.definitions
import models.keys
import models.namespaces
import models.notifications
import models.pauses
import models.people
import models.receipts
import models.sagas
import models.webhooks  # noqa: F401  (importing a module registers its tables)
import settings
from models.tables import metadata

# A migration that cannot get its lock in this time fails and is run again later, so that no query queues behind it.
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "5min"
# Any number, the same for every release process.
ADVISORY_LOCK = 0x5A6A401D


def run() -> None:
    # Only the database is needed here: the release process may run where there is no Redis.
    environ = {"REDIS_URL": "redis://not-needed", **os.environ}
    engine = create_engine(settings.load_or_exit(environ).database_url)
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
