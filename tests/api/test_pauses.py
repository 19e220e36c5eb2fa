"""Pauses over HTTP, as agents use them: posted, read, waited for, followed, listed."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Team, refused, until

INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
DEPLOY = {"action": "Deploy to production (v2.4.1)", "context": {"environment": "prod", "commit": "a3f9b2e"}}


def test_an_agent_posts_polls_and_goes_on(team: Team) -> None:
    """The agent's sample of the README: everything in it is taken from the answers."""
    made = team.agent.post("/api/pause", json=DEPLOY)
    watch_id, status_url = made.json()["watchId"], made.json()["statusUrl"]
    assert made.status_code == 201
    assert made.headers["Location"] == status_url == f"{team.agent.base_url}/api/pause/{watch_id}"
    assert team.agent.get(status_url).json()["status"] == "pending"
    assert team.reviewer.post(f"/api/pause/{watch_id}/approve", json={"comment": "Go"}).status_code == 200
    read = team.agent.get(status_url).json()
    assert read["status"] == "approved"
    assert read["agentContext"] == DEPLOY | {"arguments": None}
    assert re.fullmatch(INSTANT, read["resolvedAt"])


def test_a_new_pause_has_these_fields(team: Team) -> None:
    made = team.pause(context=DEPLOY["context"])
    assert re.fullmatch(r"wch_[0-9a-f]{32}", made["watchId"])
    assert re.fullmatch(INSTANT, made["createdAt"])
    created, expires = (datetime.fromisoformat(made[name]) for name in ("createdAt", "expiresAt"))
    assert expires - created == timedelta(hours=24)
    key = next(key for key in team.admin.get("/v1/keys").json()["items"] if key["role"] == "agent")
    base = str(team.agent.base_url)
    assert made == {
        "watchId": made["watchId"],
        "namespace": team.namespace,
        "kind": "agent",
        "status": "pending",
        "createdAt": made["createdAt"],
        "createdBy": key["id"],
        "expiresAt": made["expiresAt"],
        "onTimeout": "expire",
        "resolvedAt": None,
        "agentContext": DEPLOY | {"arguments": None},
        "decision": None,
        "review": {"approvals": 1},
        "votes": [],
        "waitingFor": {
            "stage": 0,
            "stages": 1,
            "name": None,
            "approvals": 1,
            "approved": 0,
            "groups": [],
            "assignees": [],
        },
        "claim": None,
        "escalatedAt": None,
        "responseSchema": None,
        "revision": 1,
        "argumentsDigest": None,
        "argumentsSchema": None,
        "priority": 0,
        "tags": [],
        "metadata": {},
        "callbackUrl": None,
        "statusUrl": f"{base}/api/pause/{made['watchId']}",
        "reviewUrl": f"{base}/review/{made['watchId']}",
    }


def test_what_was_posted_comes_back(team: Team) -> None:
    posted = {
        "arguments": {"version": "2.4.1", "regions": ["eu", "us"], "canary": 0.05},
        "callbackUrl": "http://127.0.0.1:9/hook",
        "onTimeout": "reject",
        "priority": 9,
        "tags": ["deploy", "prod/eu", "überprüft"],
        "metadata": {"run": 17},
        "responseSchema": {"type": "object"},
        "namespace": team.namespace,
    }
    read = team.agent.get(f"/api/pause/{team.pause(**posted)['watchId']}").json()
    assert read["agentContext"]["arguments"] == posted.pop("arguments")
    assert {name: read[name] for name in posted} == posted
    assert re.fullmatch(r"[0-9a-f]{64}", read["argumentsDigest"])


@pytest.mark.parametrize(
    ("sent", "after"),
    [({"expiresIn": 90}, timedelta(seconds=90)), ({"expiresIn": None}, None), ({"expiresAt": None}, None)],
)
def test_when_a_pause_expires(sent: dict[str, Any], after: timedelta | None, team: Team) -> None:
    made = team.pause(**sent)
    expected = None if after is None else datetime.fromisoformat(made["createdAt"]) + after
    assert made["expiresAt"] is None if expected is None else datetime.fromisoformat(made["expiresAt"]) == expected


def test_an_instant_is_in_utc(team: Team) -> None:
    assert team.pause(expiresAt="2030-01-01T02:00:00+02:00")["expiresAt"] == "2030-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("on_timeout", "outcome"), [("expire", "expired"), ("reject", "rejected"), ("approve", "approved")]
)
def test_time_that_runs_out_decides_as_the_agent_said(on_timeout: str, outcome: str, team: Team) -> None:
    team.lower_floor()
    watch_id = team.pause(expiresIn=1, onTimeout=on_timeout)["watchId"]
    read = team.agent.get(f"/api/pause/{watch_id}?wait=60").json()
    assert read["status"] == outcome
    assert (read["decision"]["outcome"], read["decision"]["decidedBy"]) == (outcome, "system")
    assert read["decision"]["votes"] == []
    assert read["resolvedAt"] >= read["expiresAt"]


def test_an_unchanged_pause_is_not_sent_again(team: Team) -> None:
    url = f"/api/pause/{team.pause()['watchId']}"
    tag = team.agent.get(url).headers["ETag"]
    unchanged = team.agent.get(url, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    team.reviewer.post(f"{url}/approve")
    changed = team.agent.get(url, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "approved")
    assert changed.headers["ETag"] != tag


def test_head_reads_nothing_more_than_the_headers(team: Team) -> None:
    url = f"/api/pause/{team.pause()['watchId']}"
    answer = team.agent.head(url)
    assert (answer.status_code, answer.content, "ETag" in answer.headers) == (200, b"", True)


def test_reading_decides_nothing(team: Team) -> None:
    """Mail scanners follow links."""
    watch_id = team.pause()["watchId"]
    for path in (f"/api/pause/{watch_id}/approve", f"/api/pause/{watch_id}/reject"):
        for method in ("GET", "HEAD", "OPTIONS"):
            team.reviewer.request(method, path)
    team.reviewer.get(f"/review/{watch_id}")
    assert team.agent.get(f"/api/pause/{watch_id}").json()["status"] == "pending"


def test_a_waiting_agent_is_answered_by_the_decision(team: Team, held: Callable[[], float]) -> None:
    watch_id = team.pause()["watchId"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(team.agent.get, f"/api/pause/{watch_id}?wait=60")
        until(lambda: held() == 1)
        decided = team.reviewer.post(f"/api/pause/{watch_id}/approve").json()
        assert waiting.result(timeout=90).json() == decided


def test_waiting_for_what_is_resolved_is_answered_at_once(team: Team) -> None:
    """The client gives up after 30 s, the server would hold for 60."""
    watch_id = team.pause()["watchId"]
    team.reviewer.post(f"/api/pause/{watch_id}/reject")
    assert team.agent.get(f"/api/pause/{watch_id}?wait=60", timeout=50).json()["status"] == "rejected"


def test_a_wait_that_ends_without_a_decision(team: Team) -> None:
    answer = team.agent.get(f"/api/pause/{team.pause()['watchId']}?wait=1")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")


def test_found_by_ones_own_name(team: Team) -> None:
    """Several may have one: the newest is first. A pause without one says none."""
    name = f"order/{uuid4().hex}"
    older, newer = team.pause(externalId=name), team.pause(externalId=name)
    assert older["externalId"] == name
    assert "externalId" not in team.pause()
    found = team.agent.get("/api/pause", params={"externalId": name}).json()["items"]
    assert [each["watchId"] for each in found] == [newer["watchId"], older["watchId"]]
    assert team.agent.get("/api/pause", params={"externalId": name[:-1]}).json()["items"] == []
    empty = team.agent.post("/api/pause", json={"action": "x", "externalId": ""})
    refused(empty, 422, "VALIDATION_FAILED", "externalId")


def test_found_by_the_door(team: Team) -> None:
    """The name in `metadata.door`; metrics count each door, and a name that is not ours as `other`."""

    def counted() -> dict[str, float]:
        families = text_string_to_metric_families(team.operator.get("/metrics").text)
        (family,) = [family for family in families if family.name == "sagahold_pauses_created"]
        return {sample.labels["door"]: sample.value for sample in family.samples if sample.name.endswith("_total")}

    before = counted()
    # `Team.pause` has a new key each time; a repetition is no new pause.
    once = {"Idempotency-Key": uuid4().hex}
    body = {"action": "x", "metadata": {"door": "mcp", "client": {"tool": "pay"}}}
    for status in (201, 200):
        answer = team.agent.post("/api/pause", json=body, headers=once)
        assert answer.status_code == status
    watch_id = answer.json()["watchId"]
    own = team.pause(metadata={"door": "my-client"})["watchId"]
    team.pause(metadata={"door": "No door"})
    team.pause()
    added = {door: count - before[door] for door, count in counted().items() if count != before[door]}
    assert {door: added.get(door) for door in ("mcp", "other", "api")} == {"mcp": 1, "other": 1, "api": 2}
    for client in (team.agent, team.reviewer):
        for door, found in (("mcp", [watch_id]), ("my-client", [own]), ("aap", [])):
            listed = client.get("/api/pause", params={"door": door}).json()["items"]
            assert [each["watchId"] for each in listed] == found
    assert team.reviewer.get("/api/pause", params={"door": "mcp", "decided": "true"}).json()["items"] == []
    for wrong in ("", "MCP", "x" * 41, "a b"):
        refused(team.agent.get("/api/pause", params={"door": wrong}), 422, "VALIDATION_FAILED", "door")


def test_one_wait_for_several(team: Team, held: Callable[[], float]) -> None:
    """It counts as one; the first that is decided answers it, with all of them in their order."""
    ids = [team.pause()["watchId"] for _ in range(3)]
    unknown = f"wch_{uuid4().hex}"
    with ThreadPoolExecutor() as pool:
        query = {"ids": ",".join([*ids, unknown, ids[0]]), "wait": 60}
        waiting = pool.submit(team.agent.get, "/api/pause", params=query)
        until(lambda: held() == 1)
        decided = team.reviewer.post(f"/api/pause/{ids[1]}/approve").json()
        answer = waiting.result(timeout=90).json()
    assert [each["watchId"] for each in answer["items"]] == ids
    assert answer["items"][1] == decided
    assert (answer["missing"], answer["next_cursor"]) == ([unknown], None)
    at_once = team.agent.get("/api/pause", params={"ids": ids, "wait": 60}, timeout=50)
    assert at_once.json()["items"] == answer["items"]
    left = team.agent.get("/api/pause", params={"ids": ids[0], "wait": 1}).json()["items"]
    assert [each["status"] for each in left] == ["pending"]
    nothing = team.agent.get("/api/pause", params={"ids": unknown, "wait": 60}, timeout=50).json()
    assert (nothing["items"], nothing["missing"]) == ([], [unknown])


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("ids=", "ids"),
        ("ids=wch_1", "ids"),
        (f"ids={','.join(f'wch_{n:032x}' for n in range(101))}", "ids"),
        (f"ids=wch_{0:032x}&status=pending", "ids"),
        (f"ids=wch_{0:032x}&wait=61", "wait"),
        ("wait=5", "wait"),
    ],
)
def test_a_wait_for_several_that_is_malformed(query: str, place: str, team: Team) -> None:
    refused(team.agent.get(f"/api/pause?{query}"), 422, "VALIDATION_FAILED", place)


def events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Parse the lines into events as an EventSource does."""
    event: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            event[name] = value
        elif "data" in event:
            yield event
            event = {}


def test_a_pause_is_followed_as_events(team: Team) -> None:
    watch_id = team.pause()["watchId"]
    with team.agent.stream("GET", f"/api/pause/{watch_id}/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        stream = events(answer.iter_lines())
        first = next(stream)
        assert (first["id"], first["event"]) == ("1", "pause.created")
        assert json.loads(first["data"])["data"]["status"] == "pending"
        decided = team.reviewer.post(f"/api/pause/{watch_id}/approve").json()
        second = next(stream)
        assert (second["id"], second["event"]) == ("2", "pause.approved")
        assert json.loads(second["data"]) == {
            "type": "pause.approved",
            "timestamp": decided["resolvedAt"],
            "data": decided,
        }
        assert list(stream) == []


@pytest.mark.parametrize(("seen", "left"), [("1", ["2"]), ("2", []), ("", ["1", "2"]), ("x", ["1", "2"])])
def test_who_comes_back_gets_the_events_that_are_left(seen: str, left: list[str], team: Team) -> None:
    watch_id = team.pause()["watchId"]
    team.reviewer.post(f"/api/pause/{watch_id}/reject")
    answer: httpx.Response = team.agent.get(f"/api/pause/{watch_id}/events", headers={"Last-Event-ID": seen})
    assert [event["id"] for event in events(iter(answer.text.split("\n")))] == left


def test_lists_are_filtered(team: Team) -> None:
    """Every filter alone, and together."""
    first = team.pause(tags=["red", "filter"], action="Send 100 % of it_all")["watchId"]
    second = team.pause(tags=["blue", "filter"], action="Send nothing")
    third = team.pause(tags=["filter"])["watchId"]
    team.reviewer.post(f"/api/pause/{third}/reject")

    def found(client: httpx.Client = team.reviewer, **query: str) -> list[str]:
        answer = client.get("/api/pause", params={"tag": "filter"} | query).json()
        return [pause["watchId"] for pause in answer["items"]]

    newest_first = [third, second["watchId"], first]
    assert found() == found(team.agent) == found(namespace=team.namespace) == found(kind="agent") == newest_first
    assert found(tag="red") == found(q="100 %") == found(q="IT_ALL") == [first]
    assert found(q="100_%") == found(tag="re") == found(kind="step") == found(namespace="elsewhere") == []
    assert found(status="pending") == newest_first[1:]
    assert found(status="rejected", q="deploy") == [third]
    assert found(created_after="2020-01-01T00:00:00Z", created_before="2100-01-01T00:00:00Z") == newest_first
    assert found(created_before="2020-01-01T00:00:00Z") == found(created_after="2100-01-01T00:00:00Z") == []


def test_lists_are_paged(team: Team) -> None:
    """By offset and by cursor the same items come, each once."""
    made = [team.pause(tags=["paged"])["watchId"] for _ in range(5)][::-1]
    first = team.agent.get("/api/pause?tag=paged&limit=2").json()
    assert [pause["watchId"] for pause in first["items"]] == made[:2]
    assert (first["limit"], first["offset"]) == (2, 0)
    by_cursor, cursor = [], ""
    while cursor is not None:
        page = team.agent.get(f"/api/pause?tag=paged&limit=2{cursor and f'&cursor={cursor}'}").json()
        by_cursor += [pause["watchId"] for pause in page["items"]]
        cursor = page["next_cursor"]
    by_offset = [
        pause["watchId"]
        for offset in (0, 2, 4, 6)
        for pause in team.agent.get(f"/api/pause?tag=paged&limit=2&offset={offset}").json()["items"]
    ]
    assert by_cursor == by_offset == made
