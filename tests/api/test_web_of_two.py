"""A `web` with two worker processes: whichever gets a request, the answer is the same."""

from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from cli.devstack import Stack
from tests.api.conftest import Team, until
from tests.api.test_room_to_wait import Server, serving, value_of
from tests.services.world import at_once

# So many new connections at once reach both processes; one after the other all reach the same.
MANY = 30


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Server]:
    with serving(stack, SAGAHOLD_WEB_PROCESSES="2") as server:
        yield server


def scraped(server: Server, series: str) -> float:
    """Over a new connection."""
    text = httpx.get(server.operator.base_url.join("/metrics"), headers=server.operator.headers, timeout=90).text
    return value_of(series, text)


def test_counters_are_of_both(server: Server) -> None:
    """If each counted for itself, they would go down and up between two scrapes."""
    series = 'sagahold_http_requests_total{method="GET",route="/healthz",status="200"}'
    before = scraped(server, series)
    get = partial(httpx.get, server.operator.base_url.join("/healthz"), timeout=90)
    assert [answer.status_code for answer in at_once([get] * MANY)] == [200] * MANY
    until(lambda: set(at_once([partial(scraped, server, series)] * MANY)) == {before + MANY})


def test_long_polls_are_of_both(server: Server, team: Team) -> None:
    agent = f"Authorization: {team.agent.headers['Authorization']}"
    path = f"/api/pause/{team.pause()['watchId']}?wait=60"
    polls = at_once([partial(server.ask, path, agent)] * MANY)
    until(lambda: set(at_once([partial(scraped, server, "sagahold_long_polls")] * MANY)) == {MANY})
    for poll in polls:
        poll.close()


def test_a_policy_takes_effect_in_both_at_once(server: Server, team: Team) -> None:
    url = server.operator.base_url.join("/api/pause")
    post = partial(httpx.post, url, json={"action": "Deploy"}, headers=team.agent.headers, timeout=90)
    for approvals in (2, 1):
        put = team.admin.put(f"/v1/namespaces/{team.namespace}", json={"review": {"approvals": approvals}})
        assert put.status_code == 200
        assert [made.json()["review"] for made in at_once([post] * MANY)] == [{"approvals": approvals}] * MANY
