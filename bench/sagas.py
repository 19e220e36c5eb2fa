"""The engine's cost, alone and under load: sagas of commit steps on a tool that does nothing."""

import json
import socket
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg2

from bench.load import Load, drive
from bench.subject import NAMESPACE, Subject
from bench.wire import BenchError, Connection
from models.pauses import pauses
from models.sagas import saga_steps, sagas

# Longer than any saga here takes. Seconds.
LOST_AFTER = 120.0
# Between two queries of the database: short beside the figures, and long enough to add no load. Seconds.
LOOK_EVERY = 0.002
# Sagas started between two queries, so that ended ones are noticed in time.
AT_ONCE = 8
WORKER = "bench"
# The steps of each saga by its name, and whether each is held.
SHAPES = {"one held step": (True,), "three steps, one held": (False, True, False)}
# The same with one reason step of the mock provider: the duration of its model. Seconds.
MODEL_REQUESTS = {"one reason step": 0.0, "one reason step of 200 ms": 0.2}


@dataclass
class Latencies:
    """Latencies of one saga at a time, in seconds."""

    held: list[float] = field(default_factory=list)
    next_call: list[float] = field(default_factory=list)
    completed: list[float] = field(default_factory=list)


class Sagas:
    """The measured sagas, deployed. The tool reports its calls to `calls`."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._numbers = count()
        self.calls = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.calls.bind(("127.0.0.1", 0))
        self.calls.settimeout(LOST_AFTER)
        self._connection = Connection(subject.server)
        self._database = psycopg2.connect(subject.stack.database_url)
        self._database.autocommit = True
        self._deploy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._connection.close()
        self.calls.close()

    def unloaded(self, samples: int) -> Latencies:
        """Measure the saga of three steps: start to held, decision to the next tool call, decision to completed."""
        found = Latencies()
        for _ in range(samples):
            began = time.monotonic()
            trace, token = self._start("three steps, one held")
            span = self._await_hold(trace)
            found.held.append(time.monotonic() - began)
            self._await_call(token)  # of the first step
            decided = time.monotonic()
            self._connection.call(self._approval(trace, span))
            found.next_call.append(self._await_call(token) - decided)
            self._await_end(trace)
            found.completed.append(time.monotonic() - decided)
        return found

    def requests(self, samples: int) -> list[float]:
        """Measure one reason step from start to completed: the engine's share, because the model takes no time."""
        found = []
        for _ in range(samples):
            began = time.monotonic()
            trace, _ = self._start("one reason step")
            self._await_end(trace)
            found.append(time.monotonic() - began)
        return found

    def rate(self, shape: str, in_flight: int, seconds: float, warm_up: float) -> float:
        """Measure sagas per second from start to end. Each held step is decided as soon as it appears."""
        begins = time.monotonic() + warm_up
        ends = begins + seconds
        running: set[str] = set()
        decided: set[int] = set()
        finished = 0
        while (now := time.monotonic()) < ends:
            ended, held = self._look(running)
            running -= ended
            finished += len(ended) if now >= begins else 0
            self._decide(held, decided)
            for _ in range(min(AT_ONCE, in_flight - len(running))):
                running.add(self._start(shape)[0])
            time.sleep(LOOK_EVERY)
        self._finish(running, decided)
        return finished / seconds

    def park(self, number: int) -> int:
        """Create this many copies of one held saga with few statements, and return the bytes that they take."""
        trace, _ = self._start("three steps, one held")
        self._await_hold(trace)
        empty = self._bytes()
        with self._database.cursor() as cursor:
            cursor.execute(
                "CREATE TEMP TABLE copies AS SELECT gen_random_uuid() AS saga, gen_random_uuid() AS watch"
                " FROM generate_series(1, %s)",
                (number,),
            )
            for statement in _COPIES:
                cursor.execute(statement, {"trace": trace})
            cursor.execute("DROP TABLE copies")
            for table in ("pauses", "sagas", "saga_steps"):
                cursor.execute(f"VACUUM ANALYZE {table}")
        return self._bytes() - empty

    def forget(self) -> None:
        with self._database.cursor() as cursor:
            cursor.execute("TRUNCATE sagas, pauses CASCADE")

    def pending_review(self, seconds: float, warm_up: float) -> Load:
        request = self._subject.server.request("GET", "/v1/sagas/pending-review?limit=50", self._subject.reviewer)
        return drive(self._subject.server, 1, iter(lambda: request, None), seconds, warm_up)

    def _deploy(self) -> None:
        source = {
            "name": "bench",
            "transport": "stdio",
            "command": sys.executable,
            "args": [str(Path(__file__).with_name("tool_server.py"))],
            "env": {"BENCH_PORT": str(self.calls.getsockname()[1])},
        }
        common = {"namespace": NAMESPACE, "version": "1"}
        manifests = [{"kind": "worker", "name": WORKER, "provider": "mock", "tool_sources": [source], **common}]
        for name, holds in SHAPES.items():
            steps = [_step(number, held) for number, held in enumerate(holds)]
            manifests.append({"kind": "saga", "name": _slug(name), "steps": steps, **common})
        for name, seconds in MODEL_REQUESTS.items():
            manifests.append({"kind": "saga", "name": _slug(name), "steps": [_result(seconds)], **common})
        for manifest in manifests:
            key = self._subject.stack.credentials["admin_key"]
            self._connection.call(self._subject.server.request("POST", "/v1/manifests", key, manifest))

    def _start(self, shape: str) -> tuple[str, str]:
        token = f"t{next(self._numbers)}"
        wanted = {"namespace": NAMESPACE, "name": _slug(shape), "version": "1", "input": {"token": token}}
        request = self._subject.server.request("POST", "/v1/sagas/start", self._subject.agent, wanted)
        return json.loads(self._connection.call(request))["trace_id"], token

    def _approval(self, trace: str, span: int) -> bytes:
        path = f"/v1/sagas/{trace}/steps/{span:016x}/approve"
        return self._subject.server.request("POST", path, self._subject.reviewer, {})

    def _look(self, running: set[str]) -> tuple[set[str], dict[int, str]]:
        """Return which of these sagas have ended, and the held steps of the rest; parked sagas do not count."""
        query = (
            "SELECT id, sagas.ended_at, span_id FROM sagas"
            " LEFT JOIN saga_steps s ON saga_id = id AND s.status = 'AWAITING_HUMAN' WHERE id = ANY(%s::uuid[])"
            " AND (sagas.ended_at IS NOT NULL OR span_id IS NOT NULL)"
        )
        rows = [(id_.replace("-", ""), ended, span) for id_, ended, span in self._rows(query, (list(running),))]
        return {id_ for id_, ended, _ in rows if ended}, {span: id_ for id_, ended, span in rows if not ended}

    def _decide(self, held: dict[int, str], decided: set[int]) -> None:
        for span, trace in held.items():
            if span not in decided:
                decided.add(span)
                self._connection.call(self._approval(trace, span))

    def _finish(self, running: set[str], decided: set[int]) -> None:
        until = time.monotonic() + LOST_AFTER
        while running:
            ended, held = self._look(running)
            running -= ended
            self._decide(held, decided)
            if time.monotonic() > until:
                raise BenchError(f"{len(running)} sagas did not end")
            time.sleep(LOOK_EVERY)

    def _await_hold(self, trace: str) -> int:
        query = "SELECT span_id FROM saga_steps WHERE saga_id = %s AND status = 'AWAITING_HUMAN'"
        return int(self._await(query, trace))

    def _await_end(self, trace: str) -> None:
        self._await("SELECT status FROM sagas WHERE id = %s AND status = 'COMPLETED'", trace)

    def _await(self, query: str, trace: str) -> Any:
        until = time.monotonic() + LOST_AFTER
        while time.monotonic() < until:
            if rows := self._rows(query, (trace,)):
                return rows[0][0]
            time.sleep(LOOK_EVERY)
        raise BenchError(f"saga {trace} does not go on")

    def _await_call(self, token: str) -> float:
        while True:
            told, at = self.calls.recv(200).decode().split()
            if told == token:
                return float(at)

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._database.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    def _bytes(self) -> int:
        tables = ("pauses", "sagas", "saga_steps")
        ((size,),) = self._rows(" + ".join(["SELECT 0", *(f"pg_total_relation_size('{table}')" for table in tables)]))
        return int(size)


def _step(number: int, held: bool) -> dict[str, Any]:
    return {
        "id": f"s{number}",
        "kind": "commit",
        "worker": WORKER,
        "worker_version": "1",
        "hitl": held,
        "with": {"token": {"from": "$.input.token"}},
        "tools": {"allow": ["act"]},
    }


def _result(seconds: float) -> dict[str, Any]:
    return {
        "id": "think",
        "kind": "reason",
        "agent-adapter": "simple",
        "worker": WORKER,
        "worker_version": "1",
        "prompt": {"inline": "Say something about {{ token }}."},
        "with": {"token": {"from": "$.input.token"}},
        "mock": [{"submit": {"summary": "a token"}, "after_seconds": seconds}],
    }


def _slug(shape: str) -> str:
    return shape.replace(",", "").replace(" ", "-")


def _copy(table: Any, replaced: dict[str, str], which: str) -> str:
    columns = [column.name for column in table.columns]
    values = ", ".join(replaced.get(name, f"t.{name}") for name in columns)
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {values} FROM {table.name} t, copies WHERE {which}"


_SPAN = "(random() * 9e18)::bigint"
_COPIES = (
    _copy(pauses, {"id": "copies.watch"}, "t.id IN (SELECT watch_id FROM saga_steps WHERE saga_id = %(trace)s)"),
    _copy(sagas, {"id": "copies.saga", "start_idempotency_key": "NULL"}, "t.id = %(trace)s"),
    _copy(
        saga_steps,
        {
            "saga_id": "copies.saga",
            "span_id": _SPAN,
            "watch_id": "CASE WHEN t.watch_id IS NOT NULL THEN copies.watch END",
        },
        "t.saga_id = %(trace)s",
    ),
)
