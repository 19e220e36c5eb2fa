"""Removal of the environment from `/proc/<pid>/environ`, where other programs of the same user can read it."""

import ctypes
import os
from pathlib import Path

# Fields of /proc/self/stat after the program's name: start and end of the memory that the kernel shows.
_START, _END = 47, 48


def hide_environment() -> None:
    """Erase the environment that the kernel shows; `os.environ` and the C library keep their copies.

    If the kernel does not reveal where it is, it remains readable.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_START]), int(fields[_END])
    except (OSError, IndexError, ValueError):
        return
    if not 0 < start < end:
        return
    # Copy the variables, so that the C library no longer uses that memory.
    for name, value in os.environb.items():
        os.putenv(name, value)
    ctypes.memset(start, 0, end - start)
