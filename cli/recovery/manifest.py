"""The manifest of a backup: what it has, of which version, with the SHA-256 of each file."""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import migrations
from cli.client import Failure
from cli.devstack.private_files import write_private
from domain.values.version import VERSION

NAME, DUMP, CREDENTIALS, RECEIPT_KEYS = "manifest.json", "database.dump", "credentials.json", "receipt-keys"
# Outside the checksums, so that it may be kept in another place.
ENCRYPTION_KEY = "encryption-key"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        taken_at: the time of the snapshot, by the database's clock.
        revision: the newest migration of the database.
        postgres: the major version of the server.
        encryption_key: a fingerprint of SAGAHOLD_ENCRYPTION_KEY; None: none was set.
        rows: the number of rows by table.
        log: the last entry of each chain of the audit log, as its number and its hash.
        files: the SHA-256 of each file, by its path in the backup.
        version: of Sagahold.
        format: of the backup.
    """

    taken_at: str
    revision: str
    postgres: int
    encryption_key: str | None
    rows: dict[str, int]
    log: dict[str, list[Any]]
    files: dict[str, str]
    version: str = VERSION
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        write_private(folder / NAME, (json.dumps(asdict(self), indent=2) + "\n").encode())


def read(folder: Path) -> Manifest:
    """Return the manifest of a complete backup that this version can restore. Raise `Failure`."""
    try:
        found = json.loads((folder / NAME).read_text())
        version, revision = found["version"], found["revision"]
        if (found["format"], revision) != (FORMAT, known_revision()):
            raise Failure(
                f"{folder} is a backup of Sagahold {version} with the migration {revision}, not {known_revision()}:"
                " restore it with the version that made it, then upgrade"
            )
        manifest = Manifest(**found)
    except FileNotFoundError:
        raise Failure(f"{folder} is no complete backup, because it has no {NAME}") from None
    except (ValueError, TypeError, KeyError):
        raise Failure(f"{folder / NAME} is damaged: use another backup") from None
    for name, digest in manifest.files.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise Failure(f"{folder / name} is missing, or was changed after the backup: use another backup")
    return manifest


def known_revision() -> str:
    """Return the newest migration of this version."""
    return ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() or ""


def check_revision(conn: Connection) -> str:
    """Return the newest migration of the database. Raise `Failure` if it is not that of this version."""
    revision = str(conn.execute(text("SELECT max(version_num) FROM alembic_version")).scalar_one())
    if revision != known_revision():
        raise Failure(
            f"the database has the migration {revision}, and this version {known_revision()}: use the `sagahold` of"
            " the version that runs there"
        )
    return revision


def server_major(conn: Connection) -> int:
    """Return the major version of the server."""
    return int(conn.execute(text("SHOW server_version_num")).scalar_one()) // 10_000


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(key: str | None) -> str | None:
    """Return a name of the key that does not reveal it: the key has 32 random characters or more."""
    return None if key is None else hmac.new(key.encode(), b"sagahold backup", "sha256").hexdigest()[:16]
