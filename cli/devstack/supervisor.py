"""Supervision of programs: start them, restart those that die, and stop them in the requested order."""

import signal
import threading
import time
from collections.abc import Callable, Iterable

from cli.devstack.child import Child, Program, Reaper
from cli.devstack.errors import NotReadyError, StackError
from cli.devstack.waiting import wait_until

WATCH_SECONDS = 0.1
# The first restart is quick, because work waits. Later ones back off, so a broken program does not load the machine.
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30.0
# After this lifetime, the next death counts as the first.
STEADY_SECONDS = 10.0


class Supervisor:
    """A supervisor, usable from any thread. `say` receives one-line messages for the console."""

    def __init__(self, lock_fd: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock_fd = lock_fd
        self._lock = threading.RLock()
        self._children: dict[str, Child] = {}
        self._closing = threading.Event()
        self._reaper = Reaper()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def start(self, program: Program) -> None:
        """Start the program and keep it running. Raises `StackError` if it cannot run."""
        with self._lock:
            if program.name in self._children and self._children[program.name].wanted:
                raise StackError(f"{program.name} is already running")
            child = Child(program, self._reaper, self._lock_fd)
            child.spawn()
            self._children[program.name] = child

    def run(self, program: Program, within: float, cancelled: Callable[[], bool]) -> None:
        """Run the program once to its end. Raises `NotReadyError` if it fails or exceeds `within` seconds."""
        child = Child(program, self._reaper, self._lock_fd)
        child.spawn()
        try:
            finished = wait_until(child.ended, within, cancelled)
        finally:
            status = child.reap()
        if not finished:
            what = f"did not end within {within:.0f} s"
        elif status:
            what = f"failed ({_ending(status)})"
        else:
            return
        raise NotReadyError(f"{program.name} {what}; its log is {program.log}", program.last_lines())

    def stop(self, names: Iterable[str], within: float) -> None:
        """Stop the programs together; after `within` seconds (0: now), kill the process groups that remain."""
        with self._lock:
            children = [self._children.pop(name) for name in names]
            for child in children:
                child.wanted = False
        rounds = max((len(child.program.stop_signals) for child in children), default=0)
        for number in range(rounds):
            for child in children:
                if not child.ended() and number < len(child.program.stop_signals):
                    child.send(child.program.stop_signals[number])
            if wait_until(lambda: all(child.ended() for child in children), within / rounds):
                break
        for child in children:
            if within and not child.ended():
                self._say(f"{child.program.name} did not end in time and was killed")
            child.reap()

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the program's process. If it dies, it is restarted."""
        with self._lock:
            self._children[name].send(number)

    def pid(self, name: str) -> int | None:
        """None between a death and the restart."""
        with self._lock:
            child = self._children[name]
            return None if child.ended() else child.pid

    def names(self, kind: str | None = None) -> list[str]:
        with self._lock:
            return [name for name, child in self._children.items() if kind in (None, child.program.kind)]

    def close(self) -> None:
        """After everything was stopped: end the watching."""
        self._closing.set()
        self._watcher.join()
        self._reaper.close()

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            with self._lock:
                for child in self._children.values():
                    if child.wanted and child.ended():
                        self._revive(child)

    def _revive(self, child: Child) -> None:
        status = child.reap()
        if status is not None:
            self._plan_restart(child, _ending(status))
        elif time.monotonic() >= child.restart_at:
            try:
                child.spawn()
            except StackError as error:
                self._plan_restart(child, str(error))

    def _plan_restart(self, child: Child, why: str) -> None:
        lived = time.monotonic() - child.started_at
        child.failures = 1 if lived >= STEADY_SECONDS else child.failures + 1
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (child.failures - 1))
        child.restart_at = time.monotonic() + delay
        last = child.program.last_lines(1) if lived < STEADY_SECONDS else []
        log = f"; its last log line: {last[0]}" if last else ""
        self._say(f"{child.program.name} ended ({why}), restarting in {delay:g} s{log}")


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
