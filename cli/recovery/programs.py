"""`pg_dump` and `pg_restore`: find one that is new enough for the server, and run it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from cli.client import Failure
from cli.devstack.postgres import major_of, server_folders
from cli.recovery.place import WRITES


def run(program: str, database_url: str, major: int, *arguments: str) -> None:
    """Run the program on the database. Raise `Failure` with its error.

    `major`: the lowest major version that fits.
    """
    url = make_url(database_url).set(drivername="postgresql")
    environ = {**os.environ, "PGOPTIONS": WRITES}
    if url.password is not None:
        # Arguments are visible to every user of the machine.
        environ["PGPASSWORD"] = url.password
    dbname = url._replace(password=None).render_as_string(hide_password=False)
    command = [str(find(program, major)), f"--dbname={dbname}", *arguments]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or [f"{program} ended with status {ran.returncode}"]
        raise Failure(next((line for line in lines if "error:" in line), lines[-1]))


def find(program: str, major: int) -> Path:
    """Return the oldest program that is new enough, because more servers understand its output."""
    found = {version: path for path in _candidates(program) if (version := major_of(path)) is not None}
    if fitting := [version for version in found if version >= major]:
        return found[min(fitting)]
    there = f"this machine has only {max(found)}" if found else "this machine has none"
    raise Failure(f"the database needs {program} {major} or newer, and {there}: install postgresql-client-{major}")


def _candidates(program: str) -> Iterator[Path]:
    on_path = shutil.which(program)
    for path in (*(folder / program for folder in server_folders()), *([Path(on_path)] if on_path else [])):
        if path.exists():
            yield path
