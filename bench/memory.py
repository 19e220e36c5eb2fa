"""Memory of each process and its children."""

import psutil

from cli.devstack import Stack

MIB = 1024 * 1024


def of_tree(pid: int) -> float:
    """Return the processes' memory in MiB: their proportional share (PSS), or resident memory if that is unknown."""
    root = psutil.Process(pid)
    return sum(_of(process) for process in (root, *root.children(recursive=True))) / MIB


def of_stack(stack: Stack) -> dict[str, float]:
    """Return the memory by name: web, worker, beat, postgres and redis."""
    found = {name: stack.pid(name) for name in stack.names()}
    return {name: of_tree(pid) for name, pid in found.items() if pid is not None}


def threads_of_tree(pid: int) -> int:
    root = psutil.Process(pid)
    return sum(process.num_threads() for process in (root, *root.children(recursive=True)))


def _of(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.NoSuchProcess:
        # The process of a database connection may end between being listed and being read.
        return 0
