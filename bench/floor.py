"""The floor: the most that the machine can do, measured in the same minutes as our figures."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2

import settings
from bench.inserter import insert_on_request
from bench.load import Load
from bench.subject import CONTEXT
from bench.wire import BenchError, Connection, Server
from cli.commands.processes import ROOT, web_arguments
from cli.devstack import Stack
from cli.devstack.ports import free_port
from cli.devstack.waiting import wait_until

START_SECONDS = 60.0
# Processes that share the clients of the raw INSERTs. A single one would be the bottleneck, and the floor too low.
INSERTERS = 2


@dataclass(frozen=True)
class EmptyRoute:
    server: Server
    pid: int


@contextmanager
def empty_route(stack: Stack) -> Iterator[EmptyRoute]:
    """The server of `sagahold web` with another application."""
    port = free_port("127.0.0.1")
    environ = {**stack.environ, "SAGAHOLD_PORT": str(port)}
    command = web_arguments(settings.load(environ), "bench.floor_app:app")
    with open(stack.log("web").with_name("floor.log"), "wb") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", *command), cwd=ROOT, env=environ, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        server = Server(f"http://127.0.0.1:{port}")
        if not wait_until(lambda: _answers(server), START_SECONDS):
            raise BenchError("the empty route's server does not answer")
        yield EmptyRoute(server, process.pid)
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _answers(server: Server) -> bool:
    try:
        with closing(Connection(server)) as connection:
            connection.call(server.request("GET", "/"))
    except OSError:
        return False
    return True


class RawInserts:
    """Inserts of one row and its commit with only psycopg2, into a table with a key and our context."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE bench_floor (id uuid PRIMARY KEY, context json NOT NULL)")
        spawn = multiprocessing.get_context("spawn")
        self._pipes = []
        for _ in range(INSERTERS):
            ours, theirs = spawn.Pipe()
            spawn.Process(target=insert_on_request, args=(theirs, database_url, CONTEXT), daemon=True).start()
            theirs.close()
            self._pipes.append(ours)

    def measure(self, clients: int, seconds: float, warm_up: float) -> Load:
        for number, pipe in enumerate(self._pipes):
            pipe.send(clients // INSERTERS + (number < clients % INSERTERS))
        for pipe in self._pipes:
            pipe.recv()
        begins = time.monotonic() + warm_up
        for pipe in self._pipes:
            pipe.send((begins, begins + seconds))
        return Load.of([latency for pipe in self._pipes for latency in pipe.recv()], seconds)

    def row_bytes(self) -> float:
        """Return the bytes of the table and its index for one row."""
        with closing(psycopg2.connect(self._url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_total_relation_size('bench_floor')::float / count(*) FROM bench_floor")
            return float(cursor.fetchone()[0])

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
