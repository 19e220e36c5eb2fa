"""One process of the raw INSERTs: threads with psycopg2 alone. It imports nothing of ours: it is to be lean."""

import contextlib
import threading
import time
from multiprocessing.connection import Connection
from uuid import uuid4

import psycopg2


def insert_when_told(pipe: Connection, url: str, context: str) -> None:
    """Takes a number of clients, says so when they are connected, takes from when till when they shall insert, and
    gives the latencies (seconds) of what was committed in between; and again, until the pipe is closed.

    Instants are of `time.monotonic`, which all processes of a machine share.
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
