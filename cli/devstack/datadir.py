"""The directory of an embedded stack: data, sockets, logs and the first keys."""

import fcntl
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from adapters.process.running import is_running
from cli.devstack.errors import StackError
from cli.devstack.private_files import write_private
from cli.devstack.waiting import wait_until

LOCK = "sagahold.lock"
POSTGRES_SOCKET = ".s.PGSQL.5432"
REDIS_SOCKET = "redis.sock"
# A socket's path has at most 108 bytes on Linux and 104 on macOS, with its closing NUL.
LONGEST_SOCKET_PATH = 100
# Other characters have a meaning to a reader of the URLs; libpq reads a comma as a second host.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")
# After a kill -9 of the supervisor, the reaper takes reaper.GRACE_SECONDS and a little more to end the rest.
LEFTOVERS_SECONDS = 12


class DataDir:
    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.postgres = self.path / "pg"
        self.redis = self.path / "redis"
        self.logs = self.path / "logs"
        self.credentials_file = self.path / "credentials.json"
        self.sockets = self.path / "run"
        self.lock_fd = -1

    def open(self) -> None:
        """Create the directory, private to its owner, and lock it. Raises `StackError` if that fails."""
        try:
            self._make()
            self.lock_fd = self._lock()
            for part in (self.logs, self.redis):
                part.mkdir(mode=0o700, exist_ok=True)
            self._make_socket_dir()
        except OSError as error:
            self.close()
            where = error.filename or self.path
            raise StackError(f"data directory: {error.strerror} ({where}); choose another --data-dir") from None

    def close(self) -> None:
        """Remove the sockets' directory and release the lock. Without the lock, do nothing: the files are not ours."""
        if self.lock_fd < 0:
            return
        self._remove_socket_dir()
        os.close(self.lock_fd)
        self.lock_fd = -1

    def read_credentials(self) -> dict[str, str]:
        """Return the credentials of an earlier run, empty if there are none or they are not valid JSON."""
        try:
            found = json.loads(self.credentials_file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): value for name, value in found.items() if isinstance(value, str)}

    def write_credentials(self, credentials: dict[str, str]) -> None:
        """Replace the file as a whole. It is private to its owner from the start."""
        write_private(self.credentials_file, (json.dumps(credentials, indent=2) + "\n").encode())

    def _make(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise StackError(f"data directory {self.path} is a file: choose another --data-dir")
        self.path.mkdir(parents=True, exist_ok=True)
        # The next line changes permissions, which must not happen to a home directory or /tmp.
        if not (self.path / LOCK).exists() and any(self.path.iterdir()):
            raise StackError(f"{self.path} is neither empty nor a Sagahold data directory: choose another --data-dir")
        self.path.chmod(0o700)

    def _lock(self) -> int:
        """Take the lock. All processes of the stack inherit its descriptor, so it is free only when they have ended."""
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _try_lock(lock):
                owner = _living_owner(lock)
                if owner:
                    raise StackError(
                        f"another `sagahold up` (pid {owner}) uses {self.path}: stop it, or choose another --data-dir"
                    )
                if not wait_until(lambda: _try_lock(lock), LEFTOVERS_SECONDS):
                    raise StackError(
                        f"processes of an earlier run still use {self.path} (`fuser {self.path / LOCK}` lists them): "
                        "end them, or choose another --data-dir"
                    )
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _make_socket_dir(self) -> None:
        """Create `run`. If its path is too long or has special characters, link it to a private directory in /tmp."""
        run = self.path / "run"
        self.sockets = run.resolve()
        self._remove_socket_dir()
        self.sockets = run
        if PLAIN_PATH.fullmatch(str(run)) and len(str(run / POSTGRES_SOCKET)) <= LONGEST_SOCKET_PATH:
            run.mkdir(mode=0o700)
        else:
            self.sockets = Path(tempfile.mkdtemp(prefix="sagahold-", dir="/tmp"))
            run.symlink_to(self.sockets)

    def _remove_socket_dir(self) -> None:
        shutil.rmtree(self.sockets, ignore_errors=True)
        run = self.path / "run"
        if run.is_symlink():
            run.unlink()


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _living_owner(lock: int) -> int | None:
    """Return the pid in the lock file if that process is alive."""
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() and is_running(int(text)) else None
