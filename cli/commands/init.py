"""`sagahold init`: create the first admin, keys and a sign-in link in the database at DATABASE_URL."""

import os
from pathlib import Path

import click
from sqlalchemy.exc import ProgrammingError

import settings
from cli.client import Failure
from cli.devstack.datadir import DataDir
from cli.devstack.first_keys import first_keys, has_admin_key, sign_in_link
from domain.identity.access import Role
from services.kernel.connection_pool import DatabaseUnavailable


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=".sagahold",
    show_default=True,
    help="Write credentials.json, which other commands read, in this directory.",
)
@click.option("--new-keys", is_flag=True, help="Create keys even if some exist whose file is elsewhere or lost.")
def init(data_dir: Path, new_keys: bool) -> None:
    """Create the first admin, keys and a sign-in link.

    Use it on your own database, after `sagahold release`. It creates one key for each role. A second run creates
    only a new link, and replaces keys in the file that are no longer valid.
    """
    loaded = settings.load_or_exit({"REDIS_URL": "redis://not-needed", **os.environ})
    try:
        _init(loaded, DataDir(data_dir), new_keys)
    except DatabaseUnavailable:
        raise Failure("the database does not answer: start it, or correct DATABASE_URL") from None
    except ProgrammingError:
        raise Failure("the database is not migrated: run `sagahold release` first") from None
    except OSError as error:
        raise Failure(f"cannot write {error.filename or data_dir}: {error.strerror}") from None


def _init(loaded: settings.Settings, data: DataDir, new_keys: bool) -> None:
    existing = data.read_credentials()
    known = {str(role): existing[f"{role}_key"] for role in Role if f"{role}_key" in existing}
    if known or new_keys or not has_admin_key(loaded):
        data.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = first_keys(loaded, known)
        data.write_credentials({"url": loaded.public_url, **{f"{role}_key": key for role, key in keys.items()}})
        click.echo(f"Keys:    {data.credentials_file}")
    else:
        click.echo("Keys:    keys exist, but no file here has them; --new-keys creates more")
    link = sign_in_link(loaded, loaded.public_url)
    no_admin = "no person is an admin of all namespaces; create a link with an admin key"
    click.echo(f"Sign in: {link or no_admin}")
