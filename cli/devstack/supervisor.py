"""Keeps programs running: starts them, restarts those that die, stops them in the order that is asked for."""

import signal
import threading
import time
from collections.abc import Callable, Iterable

from cli.devstack.child import Child, Program, Reaper
from cli.devstack.errors import NotReadyError, StackError
from cli.devstack.waiting import wait_until

WATCH_SECONDS = 0.1
# A first death is answered at once (somebody waits for its work), a program that cannot run does not eat the machine.
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30.0
# Whoever lived this long was well; the next death counts as a first one.
STEADY_SECONDS = 10.0


class Supervisor:
    """`say` is told, one line each, what a person at the console should know. Use from any thread."""

    def __init__(self, lock_fd: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock_fd = lock_fd
        self._lock = threading.RLock()
        self._children: dict[str, Child] = {}
        self._closing = threading.Event()
        self._keeper = Reaper()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def start(self, program: Program) -> None:
        """Start the program and keep it running. Raises `StackError` when it cannot be run at all."""
        with self._lock:
            if program.name in self._children and self._children[program.name].wanted:
                raise StackError(f"{program.name} is running already")
            child = Child(program, self._keeper, self._lock_fd)
            child.spawn()
            self._children[program.name] = child

    def run(self, program: Program, within: float, cancelled: Callable[[], bool]) -> None:
        """Run to the end, once. Raises `NotReadyError` when it fails or takes longer than `within` seconds."""
        child = Child(program, self._keeper, self._lock_fd)
        child.spawn()
        try:
            finished = wait_until(child.ended, within, cancelled)
        finally:
            status = child.bury()
        if not finished:
            what = f"did not end within {within:.0f} s"
        elif status:
            what = f"failed ({_ending(status)})"
        else:
            return
        raise NotReadyError(f"{program.name} {what}; its log is {program.log}", program.last_lines())

    def stop(self, names: Iterable[str], within: float) -> None:
        """Ask them to end, all at once; after `within` seconds (0: now) kill what is left, with its process group."""
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
            child.bury()

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal and let come what may: it is restarted when it dies of it."""
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
        self._keeper.close()

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            with self._lock:
                for child in self._children.values():
                    if child.wanted and child.ended():
                        self._revive(child)

    def _revive(self, child: Child) -> None:
        status = child.bury()
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
        said = f"; it said: {last[0]}" if last else ""
        self._say(f"{child.program.name} ended ({why}), restarting in {delay:g} s{said}")


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
