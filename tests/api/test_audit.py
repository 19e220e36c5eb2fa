"""The audit log over HTTP: who may read it, what it says, and that no namespace's entries reach another."""

import json
from typing import Any

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from domain.log.audit_chain import ChainRow, read_line, signed_root, verify
from domain.log.merkle import extends, includes, leaf_hash
from tests.api.conftest import Team, refused

URL = "/v1/audit-events"


@pytest.fixture(scope="module")
def decided(team: Team) -> str:
    """A pause that was approved, with a name that no ASCII holds."""
    watch_id: str = team.pause(action="Přenést 🐎")["watchId"]
    assert team.reviewer.post(f"/api/pause/{watch_id}/approve", json={"comment": "é"}).status_code == 200
    # The processes of the stack link entries every second.
    assert wait_until(lambda: all(event["seq"] for event in events(team.operator, limit=100)), 240)
    assert wait_until(lambda: team.operator.get("/v1/audit/checkpoint").status_code == 200, 240)
    return watch_id


def events(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_it_says_who_did_what_and_from_where(team: Team, decided: str) -> None:
    approved, created = events(team.operator, subject=decided)
    assert (created["type"], created["by_name"], created["before"]) == ("pause.created", "test agent", None)
    assert (approved["type"], approved["by_name"], approved["where"]) == (
        "pause.approved",
        "test reviewer",
        "127.0.0.1",
    )
    assert approved["by"].startswith("key_")
    assert len(approved["before"]) == len(approved["after"]) == len(approved["hash"]) == 64
    assert approved["namespace"] == created["namespace"] == team.namespace
    assert approved["seq"] > created["seq"]


def test_filters_and_pages(team: Team, decided: str) -> None:
    everything = events(team.operator, limit=100)
    (approved,) = events(team.operator, subject=decided, type="pause.approved")
    assert approved in events(team.operator, by=approved["by"])
    assert approved in events(team.operator, since=approved["at"])
    assert approved not in events(team.operator, until=approved["at"])
    first = team.operator.get(URL, params={"limit": 1}).json()
    rest = events(team.operator, limit=100, cursor=first["next_cursor"])
    assert [*first["items"], *rest] == everything
    assert events(team.operator, cursor="f" * 32, limit=100) == everything
    assert events(team.operator, cursor="0" * 32) == []


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "until=2026-03-30T21:00:00",
        "namespace=Shop",
        "namespace=**",
        "namespace=",
        "type=",
        "subject=" + "x" * 201,
        "by=%00",
        "limit=0",
        "cursor=1",
        "cursor=" + "0" * 32 + "&offset=1",
        "since=2026-03-30T21:00:00Z&since=2026-03-30T21:00:00Z",
        "actor=x",
    ],
)
def test_bad_filters(team: Team, query: str) -> None:
    refused(team.operator.get(f"{URL}?{query}"), 422, "VALIDATION_FAILED")


@pytest.mark.parametrize("path", [URL, "/v1/audit/verify", "/v1/audit/export"])
def test_another_namespace_is_none_of_your_business(
    path: str, team: Team, decided: str, stranger: httpx.Client
) -> None:
    for namespace in (team.namespace, "*", "nowhere"):
        refused(stranger.get(path, params={"namespace": namespace}), 403, "FORBIDDEN")
    answer = stranger.get(path)
    assert answer.status_code == 200
    assert team.namespace not in answer.text
    assert decided not in answer.text


def test_who_sees_all_reads_each_chain(stack: Stack, team: Team, decided: str) -> None:
    admin = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.credentials['admin_key']}"})
    assert {event["namespace"] for event in events(admin)} <= {"default"}
    assert len(events(admin, namespace=team.namespace, subject=decided)) == 2
    # The first keys belong to all namespaces.
    assert events(admin, namespace="*", type="key.created")
    assert admin.get("/v1/audit/verify", timeout=60).json()["ok"]


def test_verify(team: Team, decided: str) -> None:
    found = team.operator.get("/v1/audit/verify").json()
    assert (found["ok"], found["first_bad"]) == (True, None)
    assert found["checked"] == team.operator.get(URL).json()["items"][0]["seq"]
    assert team.operator.get("/v1/audit/verify", params={"namespace": team.namespace}).json() == found


def test_export(team: Team, decided: str) -> None:
    """As lines, as they are read: the entry with its links, and the heads at the end."""
    with team.admin.stream("GET", "/v1/audit/export") as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert "Content-Length" not in answer.headers
        lines = b"".join(answer.iter_bytes()).decode().splitlines()
    *found, heads = map(json.loads, lines)
    rows = [each for each in found if "checkpoint" not in each]
    verdict = verify(map(read_line, lines)).document()
    assert (verdict["ok"], verdict["checked"], verdict["first_bad"]) == (True, len(rows), None)
    # The first checkpoint of a log is kept, and so is the last one.
    assert verdict["signed"] == len(found) - len(rows) in (1, 2)
    assert heads == {"heads": [{name: rows[-1][name] for name in ("namespace", "seq", "hash")}]}
    assert [row["previous_hash"] for row in rows] == ["0" * 64, *(row["hash"] for row in rows[:-1])]
    listed = {event["seq"]: event for event in events(team.operator, limit=100)}
    for row in rows[-100:]:
        assert listed[row["seq"]] == {"seq": row["seq"], "hash": row["hash"], **row["entry"]}


def test_checkpoint_and_proofs(team: Team, stranger: httpx.Client, decided: str) -> None:
    """The latest checkpoint, and proofs of the entries in it. Callers of another namespace get none."""
    note = team.operator.get("/v1/audit/checkpoint")
    assert note.headers["Content-Type"] == "text/plain; charset=utf-8"
    signed = signed_root(note.text)
    assert signed.namespace == team.namespace
    path = "/v1/audit/proof/inclusion"
    found = team.operator.get(path, params={"index": 0, "size": signed.size}).json()
    proof = [bytes.fromhex(each) for each in found["hashes"]]
    assert includes(bytes.fromhex(found["leaf_hash"]), 0, signed.size, proof, signed.root)
    found = team.operator.get("/v1/audit/proof/consistency", params={"from": 1, "to": signed.size}).json()
    assert extends(1, leaf_hash_of_first(team), signed.size, signed.root, [bytes.fromhex(h) for h in found["hashes"]])
    beyond = team.operator.get(path, params={"index": 0, "size": 2**40})
    assert refused(beyond, 422, "VALIDATION_FAILED")["errors"][0]["path"] == "size"
    for url in ("/v1/audit/checkpoint?", f"{path}?index=0&size=1", "/v1/audit/proof/consistency?from=1&to=1"):
        refused(stranger.get(f"{url}&namespace={team.namespace}"), 403, "FORBIDDEN")
        refused(team.reviewer.get(url), 403, "FORBIDDEN")


def leaf_hash_of_first(team: Team) -> bytes:
    lines = team.admin.get("/v1/audit/export").text.splitlines()
    first = next(item for item in map(read_line, lines) if isinstance(item, ChainRow))
    return leaf_hash(first.text)
