"""Costs of models to the worker: bounded memory for their answers, and no thread for the wait."""

from collections.abc import Callable
from concurrent.futures import Future

import psutil
import pytest

from domain.sagas.reasoning import ModelResult
from tests.adapters.llm.wire import Huge, Together, submit
from tests.adapters.llm.world import (
    PROTOCOLS,
    PROVIDERS,
    Desk,
    done,
    failure,
)
from tests.adapters.odd_server import eventually

GOOD = submit({"n": 3})
_MEGABYTE = 1024 * 1024
DeskFor = Callable[..., Desk]
on_both = pytest.mark.parametrize("provider", PROTOCOLS)


@on_both
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_without_end_is_not_read(desk_for: DeskFor, provider: str, packed: bool):
    desk = desk_for(Huge(300, packed))
    done_or_not = desk.runner.ask_model(desk.question(provider))
    peak = _peak_while(done_or_not)
    assert failure(done_or_not.result()) in ("STRUCTURED_OUTPUT_FAILED", "PROVIDER_REJECTED")
    assert peak < 150 * _MEGABYTE
    desk.server.wait_until(lambda: desk.server.asked[0].left or desk.server.asked[0].answered)
    assert len(desk.server.asked) == 1
    assert packed or desk.server.asked[0].sent < 100 * _MEGABYTE


def _peak_while(future: Future[ModelResult]) -> int:
    """How much more memory this process had at most before it was done. Bytes."""
    us = psutil.Process()
    before: int = us.memory_info().rss
    peak = before

    def look() -> bool:
        nonlocal peak
        peak = max(peak, us.memory_info().rss)
        return future.done()

    eventually(look)
    return peak - before


def test_64_at_once_cost_no_threads(desk_for: DeskFor):
    desk = desk_for(Together(64, GOOD))
    us = psutil.Process()
    before = most = us.num_threads()
    requests = [desk.runner.ask_model(desk.question(PROVIDERS[number % 3])) for number in range(64)]

    def look() -> bool:
        nonlocal most
        most = max(most, us.num_threads())
        return all(result.done() for result in requests)

    eventually(look)
    assert [done(result.result()) for result in requests] == [{"n": 3}] * 64
    assert most - before < 20
