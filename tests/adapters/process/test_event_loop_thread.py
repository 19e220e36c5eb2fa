"""One loop in one thread, for all who wait for the network."""

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from adapters.process.event_loop_thread import EventLoopThread, Stopped
from tests.adapters.odd_server import eventually


async def nothing() -> None:
    pass


def runs() -> bool:
    return any(thread.name == "test-loop" for thread in threading.enumerate())


@pytest.fixture
def loop():
    loop = EventLoopThread("test-loop")
    yield loop
    loop.stop(nothing(), 5)


def test_work_runs_on_one_thread(loop: EventLoopThread):
    async def where() -> str:
        return threading.current_thread().name

    assert not runs()
    assert loop.submit(where()).result(90) == "test-loop"
    assert runs()


def test_cancelling_the_future_cancels_the_work(loop: EventLoopThread):
    began, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    future = loop.submit(hang())
    assert began.wait(90)
    assert future.cancel()
    assert ended.wait(90)


def test_stopping_lets_the_last_work_run_and_ends_the_rest(loop: EventLoopThread):
    async def hang() -> None:
        await asyncio.Event().wait()

    done = threading.Event()

    async def last() -> None:
        done.set()

    future = loop.submit(hang())
    loop.stop(last(), 10)
    assert done.is_set()
    eventually(lambda: not runs())
    with pytest.raises(CancelledError):
        future.result(90)
    with pytest.raises(Stopped):
        loop.submit(nothing())
