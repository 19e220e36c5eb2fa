"""The installation to back up or restore: `DATABASE_URL`, or what `sagahold up` keeps in its data directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy import Engine, create_engine

import settings
from cli.client import Failure
from cli.devstack import Stack, StackError
from cli.devstack.datadir import POSTGRES_SOCKET, DataDir
from cli.devstack.postgres import PostgresServer
from domain.values.canonical_json import encode
from services.kernel.prepared import prepare_statements

# A session that may write although the database is read-only by default.
WRITES = "-c default_transaction_read_only=off"
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=".sagahold",
    show_default=True,
    help="Use the database of this directory, unless DATABASE_URL is set.",
)


@dataclass(frozen=True, slots=True)
class Place:
    """An installation.

    Attributes:
        data: the directory that has the database, or None if `DATABASE_URL` names it.
    """

    settings: settings.Settings
    data: DataDir | None

    @property
    def url(self) -> str:
        return self.settings.database_url

    def engine(self, **options: str) -> Engine:
        """Return an engine whose sessions may write, and have no timeouts: a dump or a count may take hours."""
        arguments = {"options": f"{WRITES} -c timezone=UTC"}
        engine = create_engine(
            self.url, json_serializer=encode, hide_parameters=True, connect_args=arguments, **options
        )
        prepare_statements(engine, is_on=False)
        return engine


@contextmanager
def opened(data_dir: Path, *, running: bool) -> Iterator[Place]:
    """Yield the installation. Its database server runs during the block. Raise `Failure`.

    `running`: it exists, and may be running. Otherwise it must not run, and may be new.
    """
    environ = {"REDIS_URL": "redis://not-needed", **os.environ}
    try:
        if settings.with_secrets(environ).get("DATABASE_URL"):
            yield Place(settings.load(environ), None)
            return
        data = DataDir(data_dir)
        if running and not data.postgres.exists():
            raise Failure(f"{data.path} has no database: name another --data-dir, or set DATABASE_URL")
        data.sockets = (data.path / "run").resolve()
        if running and (data.sockets / POSTGRES_SOCKET).exists():
            yield Place(settings.load({**environ, "DATABASE_URL": PostgresServer(data, environ).url}), data)
            return
        with Stack(data_dir, processes=False) as stack:
            yield Place(stack.settings, stack.data)
    except (StackError, settings.SettingsError) as error:
        raise Failure(str(error)) from None
