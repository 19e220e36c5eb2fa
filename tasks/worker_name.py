"""Whose leases are a dead worker's: a worker that starts under the name of one that died goes on with its work at once.

The file of a name is locked by the process that bears it, for as long as it lives, and holds what its leases begin
with. Whoever gets the lock knows that the one before is gone: the kernel lets go of it with the process, not earlier. A
second worker of the same name gets no lock, nor does it know anybody's leases; on another machine, or in another
container, it has another file.
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

AGAIN_SECONDS = 1.0


class WorkerName:
    """
    Attributes:
        mine: what this process's leases begin with.
        earlier: what those of its predecessors began with, as far as nobody has freed them yet.
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
            log.warning("a worker's work waits for its lease when it dies: %s", error)

    def free_earlier(self, free: Callable[[Sequence[bytes]], int]) -> None:
        """On a thread of its own, as the database may be away."""
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
                pause.wait(AGAIN_SECONDS)
        if freed:
            log.warning("work of this worker's predecessor, which died, goes on", extra={"rows": freed})
        self._write(self.mine)

    def _write(self, *holders: bytes) -> None:
        if self._file is not None:
            os.pwrite(self._file, b"".join(holders), 0)
            os.ftruncate(self._file, HOLDER_BYTES * len(holders))


def _locked(folder: Path, name: str) -> int | None:
    """None: a process that lives has it."""
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
