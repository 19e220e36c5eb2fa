"""A small process that outlives a killed supervisor just long enough to end its processes.

It runs as a script with only the standard library. It reads `+ PGID SIGNAL` and `- PGID` from a pipe whose other end
only the supervisor holds. When the pipe closes, the supervisor has ended. The reaper then sends each listed process
its stop signal and, after a grace period, kills its process group. The kernel's parent-death signal would not suffice:
it reaches only the direct child process, is lost when credentials change, and exists only on Linux.
"""

import os
import signal
import sys
import time
from contextlib import suppress

# Enough for a fast shutdown of PostgreSQL. A worker may be killed, because its work is a row whose lease runs out.
GRACE_SECONDS = 6


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    groups: dict[int, int] = {}
    for line in sys.stdin:
        sign, group, *stop_signal = line.split()
        if sign == "+":
            groups[int(group)] = int(stop_signal[0])
        else:
            groups.pop(int(group), None)
    end(groups)


def end(groups: dict[int, int]) -> None:
    for leader, stop_signal in groups.items():
        with suppress(ProcessLookupError):
            os.kill(leader, stop_signal)
    deadline = time.monotonic() + GRACE_SECONDS
    left = set(groups)
    while left:
        patience_over = time.monotonic() >= deadline
        for group in [group for group in left if patience_over or not lives(group)]:
            left.discard(group)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.05)


def lives(leader: int) -> bool:
    try:
        os.kill(leader, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
