"""Held answers of models over HTTP: what a reviewer is shown, what an edit must fit, and who may see or decide it."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Team, refused, until
from tests.sagas import Sagas, deploy, reason_step, row, saga, span, step, worker

LOOK = {"call": "echo", "arguments": {"value": {"id": 3}}}
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string", "maxLength": 20}},
    "required": ["title"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def drafts(team: Team) -> Sagas:
    """A mock drafts, after it has called a real tool; what a reviewer makes of that is what a commit step sends."""
    runner = worker(team.namespace) | {"provider": "mock", "model_name": "m1"}
    draft = reason_step(
        "draft",
        "Draft something about {{ topic }}.",
        tools={"allow": ["echo"]},
        facts=[{"name": "id", "tool": "echo", "from": "$.value.id"}],
        output_schema=SCHEMA,
        keep_transcript=True,
        hitl=True,
        hitl_max_retries=1,
        mock=[LOOK, {"submit": {"title": "A draft"}}],
    )
    send = step("send", **{"with": {"value": {"from": "$.steps.draft"}}}, when={"cel": "steps.draft.facts.id == 3"})
    for document in (runner, saga(team.namespace, "drafts", draft, send)):
        deploy(team.admin, document)
    return Sagas(team.agent, team.reviewer)


@pytest.fixture
def held(drafts: Sagas) -> tuple[str, str]:
    trace_id = drafts.start("drafts")
    return trace_id, span(drafts.when(trace_id, "AWAITING_HUMAN"), "draft")


def _post(client: httpx.Client, held: tuple[str, str], verb: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/sagas/{held[0]}/steps/{held[1]}/{verb}", json=body)


def test_what_a_reviewer_is_shown(held: tuple[str, str], team: Team) -> None:
    """In the queue, at the step, and at the pause: the answer, how it came about, and that no model gave it."""
    trace_id, draft = held
    (item,) = team.reviewer.get(f"/v1/sagas/pending-review?kind=reason&trace_id={trace_id}").json()["items"]
    assert team.reviewer.get(f"/v1/sagas/pending-review?kind=commit&trace_id={trace_id}").json()["items"] == []
    assert (item["review_subject"], item["review_payload"]) == ("output", {"title": "A draft"})
    assert (item["step_kind"], item["mock"], item["step_span_id"]) == ("reason", True, draft)
    found = team.reviewer.get(f"/v1/sagas/{trace_id}/steps/{draft}").json()
    assert (found["output_payload"], found["facts"], found["mock"]) == ({"title": "A draft"}, {"id": 3}, True)
    assert (found["provider"], found["model"], found["prompt_ref"]) == ("mock", "m1", "inline")
    assert len(found["prompt_digest"]) == 64
    assert [(call["name"], call["outcome"]) for call in found["tool_calls"]] == [("echo", "ok")]
    assert found["timing"].keys() == {"queue_ms", "schedule_ms", "setup_ms", "llm_ms", "tool_ms"}
    assert found["usage"]["requests"] == 2
    assert found["transcript"][0] == {"role": "user", "text": "Draft something about x."}
    listed = team.agent.get(f"/v1/sagas/steps?trace_id={trace_id}").json()["items"]
    assert [(each["step_kind"], each["mock"], each["status"]) for each in listed] == [
        ("reason", True, "AWAITING_HUMAN"),
        ("commit", False, "PENDING"),
    ]
    assert listed[0]["usage"] == found["usage"]
    pause = team.reviewer.get(f"/api/pause/{item['watch_id']}").json()
    assert pause["argumentsSchema"] == SCHEMA
    assert pause["agentContext"]["arguments"] == {"title": "A draft"}
    assert pause["agentContext"]["context"]["asked_with"] == {"topic": "x"}


def test_an_edit_must_fit_at_both_doors(held: tuple[str, str], drafts: Sagas, team: Team) -> None:
    """Refused at once, under the name that the door has for it; what fits is what is merged, with the tool's facts."""
    watch_id = row(drafts.read(held[0]), "draft")["watch_id"]
    for wrong, place in (({"title": "x" * 21}, ".title"), ({"title": "x", "more": 1}, "")):
        refused(_post(team.reviewer, held, "approve", output=wrong), 422, "VALIDATION_FAILED", f"output{place}")
        answer = team.reviewer.post(f"/api/pause/{watch_id}/approve", json={"arguments": wrong})
        refused(answer, 422, "VALIDATION_FAILED", f"arguments{place}")
    large = _post(team.reviewer, held, "approve", output={"title": "x" * 300_000})
    refused(large, 422, "VALIDATION_FAILED", "output")
    assert _post(team.reviewer, held, "approve", output={"title": "Mine"}).status_code == 202
    done = drafts.when(held[0], "COMPLETED")
    merged = {"output": {"data": {"title": "Mine"}}, "facts": {"id": 3}}
    assert done["context"]["steps"]["draft"] == merged
    assert done["context"]["steps"]["send"]["output"]["data"] == {"value": merged}
    refused(_post(team.reviewer, held, "approve", output={"title": "Other"}), 409, "ALREADY_RESOLVED")
    assert _post(team.reviewer, held, "approve", output={"title": "Mine"}).json()["status"] == "already_queued"


def test_an_empty_output_changes_nothing(held: tuple[str, str], drafts: Sagas, team: Team) -> None:
    assert _post(team.reviewer, held, "decision", decision="APPROVE", output={}).status_code == 202
    done = drafts.when(held[0], "COMPLETED")
    assert done["context"]["steps"]["draft"]["output"]["data"] == {"title": "A draft"}


def test_a_rerun(held: tuple[str, str], drafts: Sagas, team: Team) -> None:
    """With what the reviewer said in the model's message; then as often as the manifest allows."""
    path = f"/v1/sagas/{held[0]}/steps/{held[1]}"
    assert _post(team.reviewer, held, "retry", guidance="shorter, please").status_code == 202
    until(lambda: team.reviewer.get(path).json()["attempt"] == 2)
    drafts.when(held[0], "AWAITING_HUMAN")
    until(lambda: row(drafts.read(held[0]), "draft")["status"] == "AWAITING_HUMAN")
    found = team.reviewer.get(path).json()
    said = found["transcript"][0]["text"]
    assert '{"title":"A draft"}' in said
    assert said.endswith("shorter, please")
    assert (found["retries"], found["guidance"]) == (1, "shorter, please")
    refused(_post(team.reviewer, held, "retry"), 409, "RETRIES_USED_UP")


def test_who_may(held: tuple[str, str], drafts: Sagas, team: Team, stranger: httpx.Client) -> None:
    path = f"/v1/sagas/{held[0]}/steps/{held[1]}"
    for verb in ("approve", "reject", "retry"):
        refused(_post(team.agent, held, verb), 403, "FORBIDDEN")
        refused(_post(stranger, held, verb), 404, "NOT_FOUND")
    for url in (path, f"/v1/sagas/steps?trace_id={held[0]}"):
        assert team.agent.get(url).status_code == 200
        refused(stranger.get(url), 404, "NOT_FOUND")
    refused(team.reviewer.get(f"{path}?namespace=elsewhere"), 404, "NOT_FOUND")
    assert stranger.get("/v1/sagas/pending-review?kind=reason").json()["items"] == []
    refused(_post(team.reviewer, held, "retry-step"), 403, "FORBIDDEN")
    refused(_post(team.operator, held, "retry-step"), 409, "SAGA_AWAITING_HUMAN")
    body = {"outcome": "done", "output": {"title": "x"}, "evidence": "x"}
    refused(_post(team.operator, held, "resolve", **body), 409, "STEP_AWAITING_HUMAN")
