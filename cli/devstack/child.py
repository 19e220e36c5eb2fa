"""A program of the stack and its current process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.devstack.errors import StackError

# A longer log is renamed when its program starts, so a program keeps at most two files.
LOG_BYTES = 5_000_000
LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class Program:
    """A command to run. `stop_signals` are sent in turn until the process ends; SIGKILL follows the last."""

    name: str
    kind: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path
    log: Path
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """Return the last lines of its log, without empty ones."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 20_000))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]


class Reaper:
    """Our end of the pipe to the process that ends all others if we are killed (reaper.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-ISEu", str(Path(__file__).with_name("reaper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int, stop_signal: signal.Signals) -> None:
        self._send(f"+ {group} {int(stop_signal)}\n")

    def forget(self, group: int) -> None:
        self._send(f"- {group}\n")

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        # The stack also runs without its reaper; only a kill -9 of this process would then leave processes behind.
        with suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


class Child:
    """The process of one program, in its own process group and session."""

    def __init__(self, program: Program, reaper: Reaper, lock_fd: int) -> None:
        self.program = program
        self.wanted = True
        self.failures = 0
        self.restart_at = 0.0
        self.started_at = 0.0
        self._reaper = reaper
        self._lock_fd = lock_fd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def spawn(self) -> None:
        """Start the process. Raises `StackError` if the program cannot run."""
        program = self.program
        try:
            if program.log.exists() and program.log.stat().st_size > LOG_BYTES:
                program.log.replace(program.log.with_suffix(".log.1"))
            with program.log.open("ab") as log:
                self._process = subprocess.Popen(
                    program.command,
                    cwd=program.cwd,
                    env=dict(program.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(self._lock_fd,),
                )
        except OSError as error:
            raise StackError(f"cannot start {program.name} ({program.command[0]}): {error.strerror}") from None
        self._reaper.watch(self._process.pid, program.stop_signals[0])
        self.started_at = time.monotonic()

    def ended(self) -> bool:
        """Return whether it has no process now."""
        return self._process is None or self._process.poll() is not None

    def reap(self) -> int | None:
        """Kill the rest of its process group and return its exit status, or None if there was no process."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._reaper.forget(process.pid)
        return process.wait()

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
