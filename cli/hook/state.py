"""The approvals that a hook process used, so that the process that reports the outcome finds them.

A file has the id of a pause and of the call, and no secret.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KEPT_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class UsedApproval:
    """A tool call that is running under an approval."""

    watch_id: str
    file: Path


class State:
    """The folder of the user's used approvals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def record(self, session: str, call: str, watch_id: str) -> UsedApproval:
        """Note the use before it happens. Raises `OSError`."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_old()
        file = self._file(session, call)
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(opened, "w") as stream:
            json.dump({"watchId": watch_id}, stream)
        return UsedApproval(watch_id, file)

    def of_call(self, session: str, call: str) -> UsedApproval | None:
        return _read(self._file(session, call))

    def of_session(self, session: str) -> list[UsedApproval]:
        """Return the approvals of the session that have no reported outcome yet."""
        found = [_read(file) for file in sorted(self.folder.glob(f"{_hash(session)}-*.json"))]
        return [used for used in found if used is not None]

    def _file(self, session: str, call: str) -> Path:
        return self.folder / f"{_hash(session)}-{_hash(call)}.json"

    def _forget_old(self) -> None:
        for file in self.folder.glob("*.json"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > KEPT_SECONDS:
                    file.unlink()


def default_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "sagahold-hook"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _read(file: Path) -> UsedApproval | None:
    try:
        return UsedApproval(str(json.loads(file.read_text())["watchId"]), file)
    except (OSError, ValueError, TypeError, KeyError):
        return None
