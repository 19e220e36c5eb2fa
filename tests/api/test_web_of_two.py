"""A `web` with two worker processes: whichever gets a request, the answer is the same."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import httpx
import pytest

from cli.devstack import Stack
from tests.api.conftest import Team, until
from tests.api.test_room_to_wait import Server, serving

# So many new connections at once reach both processes; one after the other all reach the same.
MANY = 30

T = TypeVar("T")


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Server]:
    with serving(stack, SAGAHOLD_WEB_PROCESSES="2") as server:
        yield server


def at_once(call: Callable[[], T]) -> list[T]:
    with ThreadPoolExecutor(MANY) as pool:
        return [each.result() for each in [pool.submit(call) for _ in range(MANY)]]


def scraped(server: Server, series: str) -> float:
    """Over a new connection."""
    text = httpx.get(server.operator.base_url.join("/metrics"), headers=server.operator.headers, timeout=90).text
    found = re.search(f"^{re.escape(series)} (\\S+)$", text, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def test_counters_are_of_both(server: Server) -> None:
    """If each counted for itself, they would go down and up between two scrapes."""
    series = 'sagahold_http_requests_total{method="GET",route="/healthz",status="200"}'
    before = scraped(server, series)
    assert {each.status_code for each in at_once(partial(httpx.get, server.operator.base_url.join("/healthz")))} == {
        200
    }
    until(lambda: set(at_once(partial(scraped, server, series))) == {before + MANY})


def test_long_polls_are_of_both(server: Server, team: Team) -> None:
    agent = f"Authorization: {team.agent.headers['Authorization']}"
    path = f"/api/pause/{team.pause()['watchId']}?wait=60"
    polls = at_once(partial(server.ask, path, agent))
    until(lambda: set(at_once(partial(scraped, server, "sagahold_long_polls"))) == {MANY})
    for poll in polls:
        poll.close()


def test_a_policy_takes_effect_in_both_at_once(server: Server, team: Team) -> None:
    url = server.operator.base_url.join("/api/pause")
    post = partial(httpx.post, url, json={"action": "Deploy"}, headers=team.agent.headers, timeout=90)
    for approvals in (2, 1):
        put = team.admin.put(f"/v1/namespaces/{team.namespace}", json={"review": {"approvals": approvals}})
        assert put.status_code == 200
        assert [made.json()["review"] for made in at_once(post)] == [{"approvals": approvals}] * MANY
