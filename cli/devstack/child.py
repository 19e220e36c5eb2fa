"""One program of the stack and the process that runs it now."""

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

# A log this long is set aside when its program is started; so a program keeps two files of bounded size per restart.
LOG_BYTES = 5_000_000
LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `stop_signals` are sent one after the other until it ends; SIGKILL comes after the last."""

    name: str
    kind: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path
    log: Path
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """The end of its log, without empty lines."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 20_000))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]


class Reaper:
    """Our end of the pipe to the process that ends the others should we be killed (reaper.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-ISEu", str(Path(__file__).with_name("reaper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int, stop_signal: signal.Signals) -> None:
        self._tell(f"+ {group} {int(stop_signal)}\n")

    def forget(self, group: int) -> None:
        self._tell(f"- {group}\n")

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # Without its keeper the stack runs on as well; only a kill -9 of ourselves would leave processes behind then.
        with suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


class Child:
    """The process of one program, in a process group (and session) of its own."""

    def __init__(self, program: Program, keeper: Reaper, lock_fd: int) -> None:
        self.program = program
        self.wanted = True
        self.failures = 0
        self.restart_at = 0.0
        self.started_at = 0.0
        self._keeper = keeper
        self._lock_fd = lock_fd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def spawn(self) -> None:
        """Start the process. Raises `StackError` when the program cannot be run at all."""
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
        self._keeper.watch(self._process.pid, program.stop_signals[0])
        self.started_at = time.monotonic()

    def ended(self) -> bool:
        """Whether it has no process now."""
        return self._process is None or self._process.poll() is not None

    def bury(self) -> int | None:
        """Kill what is left of it and of its process group. Its exit status, None when there was no process."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._keeper.forget(process.pid)
        return process.wait()

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
