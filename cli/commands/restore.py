"""`sagahold restore` and `sagahold resume`: a database from a backup, read-only until an operator has looked."""

from pathlib import Path

import click
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from cli.client import Failure
from cli.devstack.external_servers import why_absent
from cli.devstack.private_files import private_folder, write_private
from cli.recovery import manifest
from cli.recovery.manifest import Manifest
from cli.recovery.place import Place, data_dir_option, opened
from cli.recovery.programs import run
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database, NoPublisher
from services.operations import restores

# Without those of extensions, which a provider may have installed.
_TABLES = text(
    "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    " AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')"
)


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--recovered", is_flag=True, help="Load nothing: PostgreSQL's own means have recovered the database.")
@data_dir_option
def restore(folder: Path | None, recovered: bool, data_dir: Path) -> None:
    """Restore the backup DIR into an empty database, prove it, and show what may have run since.

    The database is then read-only, and nothing runs, until `sagahold resume`.
    """
    if (folder is None) is not recovered:
        raise click.UsageError("give the DIR of a backup, or --recovered")
    made = None if folder is None else manifest.read(folder)
    with opened(data_dir, running=recovered) as place:
        try:
            if folder is not None and made is not None:
                _check_keys(place, folder, made)
                _load(place, folder, made)
            _prove(place, made)
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            raise Failure(f"the database cannot be restored: {why_absent(error)}") from None


def _check_keys(place: Place, folder: Path, made: Manifest) -> None:
    key = manifest.fingerprint(place.settings.encryption_key)
    if made.encryption_key not in (None, key):
        what = "is not set" if key is None else "is not the one of the backup"
        raise Failure(
            f"SAGAHOLD_ENCRYPTION_KEY {what}: let SAGAHOLD_ENCRYPTION_KEY_FILE name"
            f" {folder / manifest.ENCRYPTION_KEY}, or the place where you keep it (nothing changed)"
        )
    if (folder / manifest.RECEIPT_KEYS).exists() and place.settings.receipt_keys_dir is None:
        raise Failure("the backup has keys of receipts: let SAGAHOLD_RECEIPT_KEYS_DIR name a folder (nothing changed)")


def _load(place: Place, folder: Path, made: Manifest) -> None:
    engine = place.engine()
    with engine.connect() as conn:
        if count := conn.execute(_TABLES).scalar_one():
            raise Failure(f"the database is not empty, it has {count} tables: restore into a new one (nothing changed)")
        major = manifest.server_major(conn)
    if major < made.postgres:
        raise Failure(f"the backup is of PostgreSQL {made.postgres}, but the server is {major}: use a newer server")
    restores.hold(engine)
    try:
        # One transaction, so a failure leaves the database empty.
        options = "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"
        run("pg_restore", place.url, made.postgres, *options, str(folder / manifest.DUMP))
    except BaseException:
        restores.let_go(engine)
        raise
    finally:
        engine.dispose()
    if place.data is not None and (folder / manifest.CREDENTIALS).exists():
        write_private(place.data.credentials_file, (folder / manifest.CREDENTIALS).read_bytes())
    if place.settings.receipt_keys_dir is not None:
        for path in (folder / manifest.RECEIPT_KEYS).glob("*.pem"):
            write_private(private_folder(place.settings.receipt_keys_dir) / path.name, path.read_bytes())


def _prove(place: Place, made: Manifest | None) -> None:
    engine = place.engine()
    try:
        with engine.connect() as conn:
            manifest.check_revision(conn)
            if made is not None and (restores.log_heads(conn), restores.row_counts(conn)) != (made.log, made.rows):
                raise Failure("the restored rows or the heads of the log differ from the backup: do not use them")
        if made is None:
            restores.hold(engine)
        entries, rows, bad = restores.proof(Database(engine, NoPublisher(), ""))
        if bad is not None:
            raise Failure(f"the audit log does not verify, so the database stays read-only: {bad}")
        with engine.connect() as conn:
            found = restores.waiting(conn)
    finally:
        engine.dispose()
    click.echo(f"Log:     {entries} entries are intact, and {rows} rows match them")
    if made is not None:
        click.echo(f"Backup:  all {sum(made.rows.values())} rows and the log's heads of {made.taken_at}")
    click.echo("\nThe original may have gone on with these after that time:")
    for name, count in found.items():
        click.echo(f"  {count:>7}  {name}")
    click.echo("\nThe database is read-only, and nothing runs. Look at the other systems, then:")
    click.echo("  sagahold resume                 what may have run does not run again by itself")
    click.echo("  sagahold resume --nothing-ran   the original had stopped before the backup")


@click.command()
@click.option("--nothing-ran", is_flag=True, help="The original had stopped before the backup: continue everything.")
@data_dir_option
def resume(nothing_ran: bool, data_dir: Path) -> None:
    """Let a restored database work again, after you have looked at what may have run.

    Unless --nothing-ran, sagas wait for an operator, and agents request approvals again that they have not used.
    Webhooks and notifications that were due go out, some for the second time.
    """
    with opened(data_dir, running=True) as place:
        engine = place.engine()
        try:
            with engine.connect() as conn:
                if not restores.is_held(conn):
                    raise Failure("the database is not read-only: there is nothing to resume")
            found = restores.release(
                Database(engine, NoPublisher(), place.settings.public_url), nothing_ran=nothing_ran
            )
            restores.let_go(engine)
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            raise Failure(f"the database cannot be resumed: {why_absent(error)}") from None
        finally:
            engine.dispose()
    click.echo(f"Resumed. {found.sagas} sagas wait for an operator: `sagahold list sagas --needs-operator`")
    click.echo(f"{found.pauses} pauses are stricter: an approval ended, or its deadline no longer approves")
