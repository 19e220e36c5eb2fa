"""Keys and namespaces at the edge: who is let in, what they see, and what never gets into a log."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import update

from app.http.key_cache import TTL_SECONDS
from cli.devstack import Stack
from domain.values import ids
from models.keys import api_keys
from services.kernel.unit_of_work import Database
from tests.api.conftest import Team, log_until_now, refused, until

NOWHERE = f"wch_{'0' * 32}"


def key_of(client: httpx.Client) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer nothing",
        "Bearer hitl_",
        f"Bearer hitl_{'x' * 43}",
        f"Bearer hitl_{'x' * 20_000}",
        "hitl_0123456789012345678901234567890",
        "Basic",
        "Basic !!!",
        "Basic w6k6",
        "Basic " + base64.b64encode(b"user:password").decode(),
        "Digest username=x",
        "Bearer 'hitl_x' OR 1=1",
    ],
)
def test_a_broken_authorization_header(header: str, stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/api/pause", headers={"Authorization": header})
    refused(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_bytes_that_are_no_text_in_the_authorization_header(stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/api/pause", headers=[(b"Authorization", b"Bearer hitl_\xff\xfe" + b"x" * 40)])
    refused(answer, 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_key(scheme: str, team: Team, stack: Stack) -> None:
    headers = {"Authorization": f"{scheme}  {key_of(team.agent)}"}
    assert httpx.get(f"{stack.url}/api/pause", headers=headers).status_code == 200


@pytest.mark.parametrize("password", ["", "anything", "a:b"])
def test_a_key_as_the_user_name_of_basic(password: str, team: Team, stack: Stack) -> None:
    """For programs that take nothing but a URL."""
    assert httpx.get(f"{stack.url}/api/pause", auth=(key_of(team.agent), password)).status_code == 200


@pytest.mark.parametrize("name", ["api_key", "key", "access_token", "token", "API_KEY", "q", "anything"])
def test_a_key_in_the_query_is_refused_and_not_logged(name: str, team: Team, stack: Stack) -> None:
    """A key in the URL is refused even with a valid header, because it is now in a log."""
    key = team.admin.post("/v1/keys", json={"name": "lost", "role": "agent", "namespaces": [team.namespace]}).json()
    for client in (httpx.Client(base_url=stack.url), team.agent):
        refused(client.get("/api/pause", params={name: key["key"]}), 400, "KEY_IN_URL")
    team.agent.get(f"/api/pause/{key['key']}")
    httpx.get(f"{stack.url}/{key['key']}")
    assert key["key"] not in log_until_now(stack)


def test_a_revoked_key_ends_within_five_seconds(team: Team, stack: Stack, held: Callable[[], float]) -> None:
    """A revoked key stops working although it is cached, and for requests that wait."""
    assert TTL_SECONDS < 5
    made = team.admin.post("/v1/keys", json={"name": "x", "role": "agent", "namespaces": [team.namespace]}).json()
    client = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {made['key']}"}, timeout=70)
    watch_id = client.post("/api/pause", json={"action": "Deploy"}).json()["watchId"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.get, f"/api/pause/{watch_id}?wait=60")
        streamed = pool.submit(client.get, f"/api/pause/{watch_id}/events")
        until(lambda: held() == 2)
        assert team.admin.post(f"/v1/keys/{made['id']}/revoke").status_code == 200
        until(lambda: client.get("/api/pause").status_code == 401)
        assert team.reviewer.post(f"/api/pause/{watch_id}/approve").status_code == 200
        refused(waiting.result(), 401, "UNAUTHENTICATED")
        assert "pause.approved" not in streamed.result().text


def test_an_expired_key(team: Team, stack: Stack, stack_database: Database) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    new = {"name": "x", "role": "agent", "namespaces": [team.namespace], "expires_at": later}
    made = team.admin.post("/v1/keys", json=new).json()
    client = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {made['key']}"})
    assert client.get("/api/pause").status_code == 200
    with stack_database.transaction() as uow:
        expired = update(api_keys).where(api_keys.c.id == ids.parse(ids.KEY, made["id"]))
        uow.conn.execute(expired.values(expires_at=uow.now))
    until(lambda: client.get("/api/pause").status_code == 401)
    past = {**new, "expires_at": "2020-01-01T00:00:00Z"}
    refused(team.admin.post("/v1/keys", json=past), 422, "VALIDATION_FAILED", "expires_at")


def test_a_key_is_shown_once_and_listed_by_its_prefix(team: Team) -> None:
    made = team.admin.post("/v1/keys", json={"name": "x", "role": "agent", "namespaces": [team.namespace]}).json()
    listed = team.admin.get("/v1/keys?limit=100")
    assert made["key"].startswith(made["prefix"])
    assert made["key"] not in listed.text
    assert {name: made[name] for name in made if name != "key"} in listed.json()["items"]


def test_last_used_at_is_kept(team: Team, stack: Stack) -> None:
    made = team.admin.post("/v1/keys", json={"name": "x", "role": "agent", "namespaces": [team.namespace]}).json()
    assert made["last_used_at"] is None
    httpx.get(f"{stack.url}/api/pause", headers={"Authorization": f"Bearer {made['key']}"}).raise_for_status()
    listed = {key["id"]: key for key in team.admin.get("/v1/keys?limit=100").json()["items"]}
    assert listed[made["id"]]["last_used_at"] >= made["created_at"]


@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("GET", "/events"), ("POST", "/approve"), ("POST", "/reject"), ("POST", "/cancel")],
)
def test_another_namespaces_pause_is_not_there(method: str, suffix: str, stranger: httpx.Client, team: Team) -> None:
    """A foreign pause gives 404 with the message of an unknown id, so that its existence stays hidden."""
    watch_id = team.pause()["watchId"]
    foreign = refused(stranger.request(method, f"/api/pause/{watch_id}{suffix}"), 404, "NOT_FOUND")
    unknown = refused(stranger.request(method, f"/api/pause/{NOWHERE}{suffix}"), 404, "NOT_FOUND")
    assert foreign["detail"].replace(watch_id, NOWHERE) == unknown["detail"]
    assert team.agent.get(f"/api/pause/{watch_id}").json()["status"] == "pending"


def test_lists_show_nothing_of_other_namespaces(stranger: httpx.Client, team: Team) -> None:
    watch_id = team.pause()["watchId"]
    for query in ("", f"?namespace={team.namespace}"):
        listed = stranger.get(f"/api/pause{query}").json()
        assert watch_id not in [pause["watchId"] for pause in listed["items"]]


@pytest.mark.parametrize("name", ["default", "no-such-namespace"])
def test_a_namespace_without_access(name: str, team: Team) -> None:
    """An operation that would create something gives 403, because names are free to choose and reveal nothing."""
    refused(team.agent.post("/api/pause", json={"action": "x", "namespace": name}), 403, "FORBIDDEN")
    refused(team.agent.get(f"/v1/webhooks/signing-secret?namespace={name}"), 403, "FORBIDDEN")
    refused(team.admin.post(f"/v1/webhooks/signing-secret/rotate?namespace={name}"), 403, "FORBIDDEN")


def test_an_agent_sees_no_other_agents_pause(team: Team, stack: Stack) -> None:
    new = {"name": "other", "role": "agent", "namespaces": [team.namespace]}
    key = team.admin.post("/v1/keys", json=new).json()["key"]
    other = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"})
    watch_id = team.pause()["watchId"]
    for suffix in ("", "?wait=1", "/events"):
        refused(other.get(f"/api/pause/{watch_id}{suffix}"), 404, "NOT_FOUND")
    assert other.get("/api/pause").json()["items"] == []
    assert team.reviewer.get(f"/api/pause/{watch_id}").status_code == 200


def test_links_lead_to_this_server(team: Team, stack: Stack) -> None:
    """Not to what a client writes into Host."""
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    made = team.agent.post("/api/pause", json={"action": "Deploy"}, headers=headers)
    links = [made.headers["Location"], made.json()["statusUrl"], made.json()["reviewUrl"]]
    assert {urlsplit(link).netloc for link in links} == {urlsplit(stack.url).netloc}
