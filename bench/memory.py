"""What each process and its children take of the machine's memory."""

import psutil

from cli.devstack import Stack

MIB = 1024 * 1024


def of_tree(pid: int) -> float:
    """MiB: the share of pages that is the processes' own (PSS); where the system does not tell, what is resident."""
    root = psutil.Process(pid)
    return sum(_of(process) for process in (root, *root.children(recursive=True))) / MIB


def of_stack(stack: Stack) -> dict[str, float]:
    """By name: web, worker, beat, postgres, redis."""
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
        # A database connection's process may end between being listed and being looked at.
        return 0
