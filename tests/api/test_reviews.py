"""Review policies over HTTP: votes, claims, many decisions, a namespace's default; and every way to be refused."""

import json
import re
import time
from typing import Any

import httpx
import pytest

from tests.api.conftest import Team, refused
from tests.sagas import deploy, saga, step, worker


def id_of(client: httpx.Client, name: str) -> str:
    keys = client.get("/v1/keys", params={"limit": 100}).json()["items"]
    return str(next(key["id"] for key in keys if key["name"] == f"test {name}"))


def path(pause: dict[str, Any], verb: str = "") -> str:
    return f"/api/pause/{pause['watchId']}" + (f"/{verb}" if verb else "")


def test_a_quorum(team: Team) -> None:
    """A vote is answered with what is still missing; the version changes with it."""
    pause = team.pause(review={"approvals": 2}, arguments={"n": 1})
    assert pause["waitingFor"] == {
        "stage": 0,
        "stages": 1,
        "name": None,
        "approvals": 2,
        "approved": 0,
        "groups": [],
        "assignees": [],
    }
    etag = team.agent.get(path(pause)).headers["ETag"]
    voted = team.reviewer.post(path(pause, "approve"), json={"comment": "fine"}).json()
    assert (voted["status"], voted["waitingFor"]["approved"], len(voted["votes"])) == ("pending", 1, 1)
    assert team.reviewer.post(path(pause, "approve"), json={}).json() == voted
    assert team.agent.get(path(pause), headers={"If-None-Match": etag}).status_code == 200
    assert team.agent.get(path(pause), params={"wait": 1}).json()["status"] == "pending"
    approved = team.operator.post(path(pause, "approve"), json={}).json()
    assert (approved["status"], approved["waitingFor"]) == ("approved", None)
    assert [vote["byName"] for vote in approved["decision"]["votes"]] == ["test reviewer", "test operator"]


def test_an_edit_voids_what_was_voted(team: Team) -> None:
    """A person who voted must vote again on the new revision."""
    pause = team.pause(review={"approvals": 2}, arguments={"n": 1})
    team.reviewer.post(path(pause, "approve"), json={"revision": 1})
    edited = team.operator.post(path(pause, "approve"), json={"arguments": {"n": 2}, "revision": 1}).json()
    assert (edited["status"], edited["revision"]) == ("pending", 2)
    assert [vote["counts"] for vote in edited["votes"]] == [False, True]
    refused(team.reviewer.post(path(pause, "approve"), json={"revision": 1}), 409, "REVISION_CHANGED")
    done = team.reviewer.post(path(pause, "approve"), json={"revision": 2}).json()
    assert (done["status"], done["decision"]["arguments"]) == ("approved", {"n": 2})


def test_only_eligible_voters_decide(team: Team) -> None:
    """A key may be asked by its id; an agent may never vote, whoever asks it."""
    asked = id_of(team.admin, "reviewer")
    pause = team.pause(review={"assignees": [asked]})
    assert pause["waitingFor"]["assignees"] == [asked]
    for verb in ("approve", "reject"):
        refused(team.operator.post(path(pause, verb), json={}), 403, "NOT_ASKED")
    refused(team.agent.post(path(pause, "approve"), json={}), 403, "FORBIDDEN")
    assert team.reviewer.post(path(pause, "approve"), json={}).json()["status"] == "approved"


def test_a_later_stage_keeps_its_last_one(team: Team) -> None:
    pause = team.pause(review={"stages": [{}, {"assignees": [id_of(team.admin, "reviewer")]}]})
    refused(team.reviewer.post(path(pause, "approve"), json={}), 409, "NEEDED_LATER")
    first = team.operator.post(path(pause, "approve"), json={}).json()
    assert (first["status"], first["waitingFor"]["stage"]) == ("pending", 1)
    assert team.reviewer.post(path(pause, "approve"), json={}).json()["status"] == "approved"


@pytest.mark.parametrize(
    ("review", "path", "message"),
    [
        ({"approvals": 20}, "review", r"requires 20 approvals, but only \d+ of the namespace's reviewers may vote"),
        ({"groups": ["nobody-is-in-it"]}, "review", r".* only 0 of the named voters \(nobody-is-in-it\) may vote"),
        (
            {"stages": [{}, {"assignees": ["nobody@example.com"]}]},
            "review.stages[1]",
            r"requires 1 approvals, but only 0 of the named voters \(nobody@example.com\) may vote",
        ),
        (
            {"stages": [{"approvals": 1}] * 10},
            "review.stages",
            "need more voters in total, because a person votes in one stage only",
        ),
    ],
)
def test_a_policy_that_cannot_be_met_says_where(review: dict[str, Any], path: str, message: str, team: Team) -> None:
    answer = team.agent.post("/api/pause", json={"action": "Deploy", "review": review})
    refused(answer, 422, "POLICY_UNSATISFIABLE")
    (field_error,) = answer.json()["errors"]
    assert field_error["path"] == path
    assert re.fullmatch(message, field_error["message"])


def test_nobody_decides_their_own(team: Team) -> None:
    """Unless the policy lets them."""
    own = team.admin.post("/api/pause", json={"action": "Deploy", "review": {"approvals": 2}}).json()
    refused(team.admin.post(path(own, "approve"), json={}), 403, "SELF_DECISION")
    review = {"approvals": 2, "allow_self": True}
    weaker = team.admin.post("/api/pause", json={"action": "Deploy", "review": review})
    refused(weaker, 422, "VALIDATION_FAILED", "review.allow_self")
    team.lower_floor({"allow_self": True})
    allowed = team.admin.post("/api/pause", json={"action": "Deploy", "review": review}).json()
    assert team.admin.post(path(allowed, "approve"), json={}).json()["waitingFor"]["approved"] == 1
    back = {"review": None, "allowed_on_timeout": None}
    assert team.admin.put(f"/v1/namespaces/{team.namespace}", json=back).status_code == 200


def test_claims(team: Team) -> None:
    """Seen by all, in the version too; taken over only on purpose; no lock."""
    pause = team.pause()
    claimed = team.reviewer.post(path(pause, "claim"), json={}).json()
    assert claimed["claim"]["byName"] == "test reviewer"
    assert team.agent.get(path(pause)).json()["claim"] == claimed["claim"]
    etag = team.agent.get(path(pause)).headers["ETag"]
    problem = refused(team.operator.post(path(pause, "claim"), json={}), 409, "CLAIMED")
    assert "test reviewer" in problem["detail"]
    assert (
        team.operator.post(path(pause, "claim"), json={"takeOver": True}).json()["claim"]["byName"] == "test operator"
    )
    assert team.agent.get(path(pause), headers={"If-None-Match": etag}).status_code == 200
    refused(team.agent.post(path(pause, "claim"), json={}), 403, "FORBIDDEN")
    assert team.operator.post(path(pause, "unclaim"), json={}).json()["claim"] is None
    refused(team.operator.post(path(pause, "claim"), json={"takeOver": "yes"}), 422, "VALIDATION_FAILED", "takeOver")
    team.reviewer.post(path(pause, "reject"), json={})
    refused(team.operator.post(path(pause, "claim"), json={}), 409, "ALREADY_RESOLVED")
    refused(team.operator.post("/api/pause/wch_none/claim", json={}), 404, "NOT_FOUND")


def test_many_decisions(team: Team, stranger: httpx.Client) -> None:
    """Each with what it would have been answered alone."""
    approved, rejected, stale = (team.pause(arguments={"n": 1}) for _ in range(3))
    items = [
        {"watchId": approved["watchId"], "decision": "approve", "arguments": {"n": 2}, "comment": "two"},
        {"watchId": "wch_none", "decision": "approve"},
        {"watchId": stale["watchId"], "decision": "reject", "revision": 3},
        {"watchId": rejected["watchId"], "decision": "reject"},
        {"watchId": rejected["watchId"], "decision": "approve"},
    ]
    answer = team.reviewer.post("/api/pause/decisions", json={"items": items})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["watchId"] for result in results] == [item["watchId"] for item in items]
    assert [result["status"] for result in results] == ["ok", "error", "error", "ok", "error"]
    assert results[0]["pause"] == team.agent.get(path(approved)).json()
    problems = [(result["problem"]["status"], result["problem"]["code"]) for result in results if "problem" in result]
    assert problems == [(404, "NOT_FOUND"), (409, "REVISION_CHANGED"), (409, "ALREADY_RESOLVED")]
    assert results[4]["problem"]["current"]["status"] == "rejected"
    others = stranger.post("/api/pause/decisions", json={"items": items[2:3]}).json()["results"]
    assert others[0]["problem"]["code"] == "NOT_FOUND"
    assert team.agent.get(path(stale)).json()["status"] == "pending"


@pytest.mark.parametrize(
    ("items", "path"),
    [
        ([], "items"),
        ([{"watchId": "wch_1", "decision": "approve"}] * 101, "items"),
        # Not looked at one by one: a body has room for 300,000, and that took a minute.
        ([{}] * 101, "items"),
        ([{"watchId": "wch_1"}], "items[0].decision"),
        ([{"watchId": "wch_1", "decision": "later"}], "items[0].decision"),
        ([{"decision": "approve"}], "items[0].watchId"),
        ([{"watchId": "wch_1", "decision": "approve", "output": {}}], "items[0].output"),
        ([{"watchId": "wch_1", "decision": "reject", "arguments": {}}], "items[0].arguments"),
    ],
)
def test_many_decisions_that_cannot_be_read(items: list[Any], path: str, team: Team) -> None:
    """None of them is carried out."""
    refused(team.reviewer.post("/api/pause/decisions", json={"items": items}), 422, "VALIDATION_FAILED", path)


def test_an_agent_decides_none_of_many(team: Team) -> None:
    items = [{"watchId": team.pause()["watchId"], "decision": "approve"}]
    refused(team.agent.post("/api/pause/decisions", json={"items": items}), 403, "FORBIDDEN")


def test_an_escalation_is_followed(team: Team) -> None:
    """As an event of its own, between the creation and the outcome."""
    review = {
        "assignees": [id_of(team.admin, "reviewer")],
        "escalate": {"to": {"assignees": [id_of(team.admin, "operator")]}},
    }
    pause = team.pause(review=review, expiresIn=1, onTimeout="escalate")
    kinds: list[str] = []
    with team.agent.stream("GET", path(pause, "events"), timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            if line.startswith("data: ") and kinds[-1] == "pause.escalated":
                told = json.loads(line.removeprefix("data: "))["data"]
                assert (told["status"], told["onTimeout"]) == ("pending", "expire")
                assert told["escalatedAt"] is not None
    assert kinds == ["pause.created", "pause.escalated", "pause.expired"]


def test_who_polls_sees_that_there_is_more_time(team: Team) -> None:
    """Where others had been added before, the longer time is all that changes."""
    to = {"assignees": [id_of(team.admin, "operator")]}
    pause = team.pause(review={"escalate": {"after": 1, "to": to}}, expiresIn=4, onTimeout="escalate")
    deadline = time.monotonic() + 60
    while (before := team.agent.get(path(pause))).json()["escalatedAt"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    known = {"If-None-Match": before.headers["ETag"]}
    while (now := team.agent.get(path(pause), headers=known)).status_code == 304:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    longer = now.json()
    assert (longer["status"], longer["onTimeout"]) == ("pending", "expire")
    assert longer["expiresAt"] > before.json()["expiresAt"]


def test_nobody_to_escalate_to(team: Team) -> None:
    answer = team.agent.post("/api/pause", json={"action": "Deploy", "onTimeout": "escalate"})
    refused(answer, 422, "VALIDATION_FAILED", "onTimeout")


def test_the_policy_of_a_namespace(team: Team, stranger: httpx.Client) -> None:
    """Read and set by its admins; there from the next pause on."""
    where = f"/v1/namespaces/{team.namespace}"
    assert team.admin.get(where).json()["review"] == {"approvals": 1}
    refused(team.operator.get(where), 403, "FORBIDDEN")
    refused(stranger.get(where), 404, "NOT_FOUND")
    refused(stranger.put(where, json={"review": None}), 404, "NOT_FOUND")
    refused(team.admin.put(where, json={}), 422, "VALIDATION_FAILED", "review")
    refused(team.admin.put(where, json={"review": {"approvals": 0}}), 422, "VALIDATION_FAILED", "review.approvals")
    refused(team.admin.put(where, json={"review": {"approvals": 20}}), 422, "POLICY_UNSATISFIABLE")
    put = team.admin.put(where, json={"review": {"approvals": 2}}).json()
    assert put == team.admin.get(where).json()
    assert put["review"] == {"approvals": 2}
    assert team.pause()["review"] == {"approvals": 2}
    assert team.pause(review={"approvals": 1})["review"] == {"approvals": 2}
    team.admin.put(where, json={"review": None})
    assert team.pause()["review"] == {"approvals": 1}


def test_the_agent_does_not_choose_its_own_control(team: Team) -> None:
    """A policy weaker than the namespace's is raised to it, or refused with the reason."""
    where = f"/v1/namespaces/{team.namespace}"
    limits = {"allowed_on_timeout": ["expire", "reject"], "min_expires_in": 60}
    put = team.admin.put(where, json={"review": {"approvals": 2}} | limits).json()
    assert {name: put[name] for name in limits} == limits
    # Omitted fields stay.
    assert team.admin.put(where, json={"review": {"approvals": 2}}).json()["min_expires_in"] == 60
    pause = team.pause(review={"approvals": 1})
    assert team.reviewer.post(path(pause, "approve")).json()["status"] == "pending"
    for wanted, place in (
        ({"onTimeout": "approve"}, "onTimeout"),
        ({"onTimeout": "escalate"}, "onTimeout"),
        ({"expiresIn": 59}, "expiresIn"),
        ({"review": {"allow_self": True}}, "review.allow_self"),
    ):
        answer = team.agent.post("/api/pause", json={"action": "pay"} | wanted)
        assert team.namespace in refused(answer, 422, "VALIDATION_FAILED", place)["errors"][0]["message"]
    held = step("a", hitl=True, hitl_on_timeout="approve", hitl_timeout_seconds=5)
    deploy(team.admin, worker(team.namespace))
    answer = team.admin.post("/v1/manifests", json=saga(team.namespace, "weak", held))
    problem = refused(answer, 400, "INVALID_MANIFEST")
    places = [field_error["path"].removeprefix("steps[0].") for field_error in problem["errors"]]
    assert places == ["hitl_on_timeout", "hitl_timeout_seconds"]
    defaults = {"review": None, "allowed_on_timeout": None, "min_expires_in": None}
    assert team.admin.put(where, json=defaults).json()["allowed_on_timeout"] == ["expire", "reject", "escalate"]
    for wrong, place in (({"min_expires_in": 0}, "min_expires_in"), ({"allowed_on_timeout": []}, "allowed_on_timeout")):
        refused(team.admin.put(where, json={"review": None} | wrong), 422, "VALIDATION_FAILED", place)
