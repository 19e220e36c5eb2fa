"""The client of gotoHuman against the server, with another base URL and key; results come by its webhook."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from services.kernel.unit_of_work import Database
from tests.adapters.receiver import Receiver, reply
from tests.browser.people import add_person
from tests.clients.desk import WITHIN, Desk, restart_web
from tests.clients.programs import Start, ended

# The environment may have to be installed first.
pytestmark = pytest.mark.timeout(600)
MANUAL = Path(__file__).parents[3] / "docs/doors/gotohuman.md"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(reply(204)) as running:
        yield running


def result(receiver: Receiver) -> dict[str, Any]:
    """Wait for the webhook, and return its body."""
    assert wait_until(lambda: len(receiver.requests) > 0, WITHIN)
    (request,) = receiver.requests
    body: dict[str, Any] = json.loads(request.body)
    assert body["event"] == "review.completed"
    return body


def sent(start: Start, receiver: Receiver, *more: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ended(start("agent.py", receiver.url, *more)))
    return answer


def test_the_quick_start(desk: Desk, start: Start, receiver: Receiver, tmp_path: Path) -> None:
    """It runs as printed in docs/doors/gotohuman.md."""
    agent = tmp_path / "agent.py"
    agent.write_text(re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL)[0])
    assert ended(start(agent, REVIEW_WEBHOOK=receiver.url)).startswith(f"{desk.url}/review/wch_")
    desk.decide("approve")
    assert result(receiver)["reviewResult"]["response"] == "approved"


def test_the_example_of_the_readme(desk: Desk, start: Start, stack_database: Database, namespace: str) -> None:
    """It names the person who decides, and no webhook."""
    assert "An error occurred: Error response 422" in ended(start("readme_agent.py")), "the address is unknown"
    person = add_person(stack_database, "reviewer", namespaces=[namespace])

    def rename(old: str, new: str) -> None:
        with stack_database.transaction() as uow:
            statement = "UPDATE users SET email = %(new)s WHERE email = %(old)s"
            uow.conn.exec_driver_sql(statement, {"old": old, "new": new})

    rename(person.email, "jess@acme.org")
    try:
        assert ended(start("readme_agent.py")).startswith("Review sent successfully: {'reviewId': 'wch_")
        (pause,) = desk.pending()
        assert pause["waitingFor"]["assignees"] == ["jess@acme.org"]
        assert pause["agentContext"]["arguments"]["ai_social_media_post"] == "Hello"
        assert pause["metadata"]["client"] == {"tool": "YOUR_REVIEW_TEMPLATE_ID", "agent": "poster", "thread": "t1"}
        refused = desk.http.post(f"/api/pause/{pause['watchId']}/approve", json={})
        assert refused.status_code == 403, refused.text
    finally:
        rename("jess@acme.org", person.email)


def test_approved_with_an_edit(desk: Desk, start: Start, receiver: Receiver) -> None:
    answer = sent(start, receiver)
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == "Post it"
    assert answer == {
        "reviewId": pause["watchId"],
        "gthLink": f"{desk.url}/review/{pause['watchId']}",
        "sessionId": "s1",
    }
    desk.decide("approve", arguments={"post": "Hello!", "tags": ["a"]}, revision=1)
    found = result(receiver)
    assert found["reviewResult"]["data"] == {"post": "Hello!", "tags": ["a"]}
    assert found["responseValues"]["post"] == {"value": "Hello!", "wasEdited": True}
    assert found["responseValues"]["tags"] == {"value": ["a"], "wasEdited": False}
    assert (found["reviewId"], found["meta"], found["agentId"]) == (pause["watchId"], {"threadId": "t1"}, "poster")
    assert "consumedAt" in desk.all()[0]["consumption"]


def test_rejected(desk: Desk, start: Start, receiver: Receiver) -> None:
    sent(start, receiver)
    desk.decide("reject", comment="No")
    found = result(receiver)
    assert (found["response"], found["status"], found["comment"]) == ("rejected", "rejected", "No")


def test_an_agent_does_not_approve_itself(desk: Desk, start: Start, receiver: Receiver) -> None:
    answer = sent(start, receiver, "auto")
    assert answer["warnings"] == ["autoApprove has no effect: an agent does not approve its own request"]
    assert len(desk.pending()) == 1


def test_decided_while_the_web_server_restarts(
    stack: Stack, desk: Desk, start: Start, receiver: Receiver, tmp_path: Path
) -> None:
    """The client has ended long before; the receiver fails first, and gets the result again."""
    receiver.script = reply(503, retry_after="1")
    sent(start, receiver)
    restart_web(stack, lambda: None)
    desk.decide("approve")
    assert wait_until(lambda: len(receiver.requests) > 0, WITHIN)
    receiver.script = reply(204)
    assert wait_until(lambda: len(receiver.requests) > 1, WITHIN)
    first, second = receiver.requests[0], receiver.requests[-1]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


REQUEST = {"formId": "f", "fields": {"a": 1}, "meta": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formId": ""}, "formId: must be a text of 1 to 480 characters"),
        ({"fields": []}, "fields: must be an object"),
        ({"assignTo": "jess@acme.org"}, "assignTo: must be a list of at most 100 texts"),
        ({"webhookUrl": "http://169.254.169.254/"}, "webhookUrl: "),
        ({"webhookUrl": "ftp://example.org"}, "webhookUrl: "),
        ({"updateForReviewId": "r"}, "updateForReviewId: is not supported: "),
    ],
)
def test_refused_requests(desk: Desk, change: dict[str, Any], message: str) -> None:
    answer = httpx.post(
        f"{desk.url}/compat/gotohuman/requestReview", json=REQUEST | change, headers={"x-api-key": desk.agent_key}
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(message)
    assert desk.all() == []


def test_keys(desk: Desk) -> None:
    url = f"{desk.url}/compat/gotohuman/requestReview"
    assert httpx.post(url, json=REQUEST).status_code == 401
    unknown = httpx.post(url, json=REQUEST, headers={"x-api-key": "hitl_" + "x" * 40})
    assert (unknown.status_code, unknown.json()["error"]) == (401, "this key is unknown, expired or revoked")
    reviewer = desk.http.headers["Authorization"].removeprefix("Bearer ")
    assert httpx.post(url, json=REQUEST, headers={"x-api-key": reviewer}).status_code == 403
    made = httpx.post(url, json=REQUEST, headers={"x-api-key": desk.agent_key}).raise_for_status().json()
    assert made["warnings"][0].startswith("without webhookUrl no result is sent")
