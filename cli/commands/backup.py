"""`sagahold backup DIR`: everything that a new machine needs, as of one moment, while the system runs."""

import os
import shutil
from pathlib import Path

import click
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from cli.client import Failure
from cli.devstack.external_servers import why_absent
from cli.devstack.private_files import private_folder, write_private
from cli.recovery import manifest
from cli.recovery.place import Place, data_dir_option, opened
from cli.recovery.programs import run
from services.operations.restores import log_heads, row_counts


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@data_dir_option
def backup(folder: Path, data_dir: Path) -> None:
    """Back up an installation into the new directory DIR, while it runs.

    The backup has the database, SAGAHOLD_ENCRYPTION_KEY, the files of SAGAHOLD_RECEIPT_KEYS_DIR, and the first keys of
    --data-dir. It does not have the other settings.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Failure(f"{folder} is not empty: each backup has a new directory")
    with opened(data_dir, running=True) as place:
        private_folder(folder)
        try:
            made = _write(folder, place)
        except BaseException as error:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if isinstance(error, SQLAlchemyError):
                raise Failure(f"the database cannot be backed up: {why_absent(error)}") from None
            raise
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    click.echo(f"Backup:  {folder} ({size / 1e6:.1f} MB)")
    click.echo(f"As of:   {made.taken_at}, migration {made.revision}, PostgreSQL {made.postgres}")
    click.echo(f"Has:     {sum(made.rows.values())} rows, {len(made.log)} chains of the log, {len(made.files)} files")
    click.echo("SECRET:  it has keys, password hashes and all arguments, unencrypted.")
    click.echo("         Encrypt it before it leaves this machine.")
    if made.encryption_key is not None:
        click.echo(f"         Keep {manifest.ENCRYPTION_KEY} in another place than the rest.")


def _write(folder: Path, place: Place) -> manifest.Manifest:
    engine = place.engine(isolation_level="REPEATABLE READ")
    try:
        with engine.connect() as conn:
            if conn.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
                raise Failure("the database is a standby, which exports no snapshot: let DATABASE_URL name the primary")
            revision = manifest.check_revision(conn)
            # The dump and the counts see the same rows.
            snapshot, at = conn.execute(text("SELECT pg_export_snapshot(), clock_timestamp()")).one()
            major = manifest.server_major(conn)
            write_private(folder / manifest.DUMP, b"")
            options = "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"
            run("pg_dump", place.url, major, *options, f"--file={folder / manifest.DUMP}")
            rows, log = row_counts(conn), log_heads(conn)
    finally:
        engine.dispose()
    _copy_keys(folder, place)
    files = {str(path.relative_to(folder)): manifest.sha256(path) for path in folder.rglob("*") if path.is_file()}
    if (key := place.settings.encryption_key) is not None:
        write_private(folder / manifest.ENCRYPTION_KEY, key.encode())
    # The manifest comes last: without it, a backup is not complete.
    made = manifest.Manifest(
        at.isoformat(timespec="seconds"), revision, major, manifest.fingerprint(key), rows, log, files
    )
    made.write(folder)
    return made


def _copy_keys(folder: Path, place: Place) -> None:
    """Copy the files with keys after the dump, so that they have each key of the dump."""
    if place.data is not None and place.data.credentials_file.exists():
        write_private(folder / manifest.CREDENTIALS, place.data.credentials_file.read_bytes())
    if (keys := place.settings.receipt_keys_dir) is not None:
        target = private_folder(folder / manifest.RECEIPT_KEYS)
        for path in keys.glob("*.pem"):
            write_private(target / path.name, path.read_bytes())
    descriptor = os.open(folder / manifest.DUMP, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
