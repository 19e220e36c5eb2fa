"""Names of workers: a worker that starts under a dead worker's name continues its work at once.

Each name has a file that its process keeps locked and that holds the prefix of the process's lease tokens. The kernel
releases the lock only when the process ends, so a worker that gets the lock knows that its predecessor is gone.

A second worker of the same name gets no lock and learns no prefix. Other machines and containers have other files.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import HOLDER_BYTES

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class WorkerName:
    """The lock on a worker's name.

    Attributes:
        mine: the prefix of this process's lease tokens.
        earlier: the prefixes of its predecessors whose leases are not released yet.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.mine = secrets.token_bytes(HOLDER_BYTES)
        self.earlier: Sequence[bytes] = ()
        self._file: int | None = None
        try:
            self._file = _locked(folder, hashlib.sha256(name.encode()).hexdigest())
            if self._file is not None:
                found = os.pread(self._file, 1 << 20, 0)
                ends = range(HOLDER_BYTES, len(found) + 1, HOLDER_BYTES)
                self.earlier = [found[end - HOLDER_BYTES : end] for end in ends]
                self._write(*self.earlier, self.mine)
        except OSError as error:
            log.warning("the worker has no name file; if it dies, its work waits for its leases to run out: %s", error)

    def free_earlier(self, free: Callable[[Sequence[bytes]], int]) -> None:
        """Release the predecessors' leases on a separate thread, because the database may be unavailable."""
        if self.earlier:
            threading.Thread(target=self._free, args=(free,), name="own-name", daemon=True).start()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _free(self, free: Callable[[Sequence[bytes]], int]) -> None:
        pause = threading.Event()
        while True:
            try:
                freed = free(self.earlier)
                break
            except DatabaseUnavailable:
                pause.wait(RETRY_SECONDS)
        if freed:
            log.warning("this worker continues the work of its predecessor, which died", extra={"rows": freed})
        self._write(self.mine)

    def _write(self, *holders: bytes) -> None:
        if self._file is not None:
            os.pwrite(self._file, b"".join(holders), 0)
            os.ftruncate(self._file, HOLDER_BYTES * len(holders))


def _locked(folder: Path, name: str) -> int | None:
    """Open and lock the file, or return None if a running process holds the lock."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not this user's own folder")
    file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file
