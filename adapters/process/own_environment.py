"""Takes this process's environment out of `/proc/<pid>/environ`, where other programs of the same user read it."""

import ctypes
import os
from pathlib import Path

# Of /proc/self/stat, counted behind the program's name: where the memory begins and ends that the kernel shows.
_START, _END = 47, 48


def hide_environment() -> None:
    """`os.environ` and the C library keep it. Where the kernel does not say where it is, it stays to be seen."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_START]), int(fields[_END])
    except (OSError, IndexError, ValueError):
        return
    if not 0 < start < end:
        return
    # Copies, so that the C library's variables no longer are in that memory.
    for name, value in os.environb.items():
        os.putenv(name, value)
    ctypes.memset(start, 0, end - start)
