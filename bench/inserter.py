"""One process of the raw INSERTs: threads with only psycopg2. It imports none of our modules, to stay small."""

import contextlib
import threading
import time
from multiprocessing.connection import Connection
from uuid import uuid4

import psycopg2


def insert_on_request(pipe: Connection, url: str, context: str) -> None:
    """Insert rows on request until the pipe is closed.

    For each request, receive the number of clients and answer when they are connected. Then receive the start and end
    of the inserts, and send the latencies (seconds) of the commits between them. Times are of `time.monotonic`, which
    all processes of a machine share.
    """
    with contextlib.suppress(EOFError):
        while True:
            connections = [psycopg2.connect(url) for _ in range(pipe.recv())]
            pipe.send(None)
            begins, ends = pipe.recv()
            latencies: list[float] = []
            threads = [
                threading.Thread(target=_insert_rows, args=(connection, context, begins, ends, latencies))
                for connection in connections
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            pipe.send(latencies)


def _insert_rows(
    connection: "psycopg2.extensions.connection", context: str, begins: float, ends: float, latencies: list[float]
) -> None:
    with contextlib.closing(connection), connection.cursor() as cursor:
        while True:
            began = time.monotonic()
            cursor.execute("INSERT INTO bench_floor VALUES (%s, %s)", (uuid4().hex, context))
            connection.commit()
            now = time.monotonic()
            if now > ends:
                return
            if now >= begins:
                latencies.append(now - began)
