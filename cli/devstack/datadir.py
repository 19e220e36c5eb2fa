"""The directory that holds all of an embedded stack: data, sockets, logs and the first keys."""

import fcntl
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from cli.devstack.errors import StackError
from cli.devstack.waiting import wait_until

LOCK = "sagahold.lock"
POSTGRES_SOCKET = ".s.PGSQL.5432"
REDIS_SOCKET = "redis.sock"
# A socket's path must fit into 108 bytes on Linux and 104 on macOS, with the closing NUL.
LONGEST_SOCKET_PATH = 100
# Any other character means something to one of those that read the URLs (a comma, to libpq: a second host).
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")
# After a kill -9 of the supervisor its keeper needs reaper.GRACE_SECONDS and some to end what was left.
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
        """Make the directory, private to its owner, and lock it. Raises `StackError` when it cannot be ours alone."""
        try:
            self._make()
            self.lock_fd = self._lock()
            for part in (self.logs, self.redis):
                part.mkdir(mode=0o700, exist_ok=True)
            self._make_socket_dir()
        except OSError as error:
            self.close()
            where = error.filename or self.path
            raise StackError(f"data directory: {error.strerror} ({where}); give another --data-dir") from None

    def close(self) -> None:
        """Remove the sockets' directory and give the lock back; without the lock nothing here is ours."""
        if self.lock_fd < 0:
            return
        self._remove_socket_dir()
        os.close(self.lock_fd)
        self.lock_fd = -1

    def read_credentials(self) -> dict[str, str]:
        """What an earlier run wrote; empty when there is none or it cannot be read."""
        try:
            found = json.loads(self.credentials_file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): value for name, value in found.items() if isinstance(value, str)}

    def write_credentials(self, credentials: dict[str, str]) -> None:
        """A reader sees the old file or the new one, never a part, and never one that others may read."""
        fresh = self.credentials_file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json.dumps(credentials, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.credentials_file)

    def _make(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise StackError(f"data directory {self.path} is a file: give another --data-dir")
        self.path.mkdir(parents=True, exist_ok=True)
        # Its permissions are about to be changed: that must not happen to somebody's home or /tmp.
        if not (self.path / LOCK).exists() and any(self.path.iterdir()):
            raise StackError(f"{self.path} is neither empty nor a Sagahold data directory: give another --data-dir")
        self.path.chmod(0o700)

    def _lock(self) -> int:
        """All that the stack starts inherits the lock's descriptor, so it is free only when all of that is gone."""
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _try_lock(lock):
                owner = _living_owner(lock)
                if owner:
                    raise StackError(
                        f"another `sagahold up` (pid {owner}) runs on {self.path}: stop it or give --data-dir"
                    )
                if not wait_until(lambda: _try_lock(lock), LEFTOVERS_SECONDS):
                    raise StackError(
                        f"processes of an earlier run still use {self.path} (`fuser {self.path / LOCK}` lists them): "
                        "end them or give --data-dir"
                    )
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _make_socket_dir(self) -> None:
        """`run`, or where that is too long or odd for a socket a private directory elsewhere that `run` points to."""
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
    """The pid that stands in the lock file, if such a process lives."""
    text = os.pread(lock, 32, 0).strip()
    if not text.isdigit():
        return None
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return int(text)
