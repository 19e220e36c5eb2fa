"""One event loop on one thread, for any amount of work that waits for the network."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The loop accepts no more work, because the process is shutting down."""


class EventLoopThread:
    """An event loop, safe to share between threads but not across a fork. It starts with the first work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    def submit(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Start the work and return its future. Cancelling the future cancels the work. Raises `Stopped`."""
        return asyncio.run_coroutine_threadsafe(work, self._running(work))

    def stop(self, last: Coroutine[Any, Any, None], seconds: float) -> None:
        """Run `last`, then cancel all remaining work."""
        with self._lock:
            self._stopped = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            last.close()
            return
        ending = asyncio.run_coroutine_threadsafe(last, loop)
        concurrent.futures.wait([ending], timeout=seconds)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(seconds)

    def _running(self, work: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._stopped:
                work.close()
                raise Stopped
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
