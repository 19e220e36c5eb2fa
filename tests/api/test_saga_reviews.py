"""Held steps: the queue of those that wait, and one decision for each, through either door."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Team, refused, until
from tests.sagas import Sagas, deploy, row, saga, span, step


def _pending(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/sagas/pending-review", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


class TestQueue:
    def test_what_waits_and_for_what(self, sagas: Sagas, team: Team) -> None:
        trace_id, two = sagas.held()
        held = row(sagas.read(trace_id), "two")
        pause = team.reviewer.get(f"/api/pause/{held['watch_id']}").json()
        assert _pending(team.reviewer, trace_id=trace_id) == [
            {
                "namespace": team.namespace,
                "saga_trace_id": trace_id,
                "step_span_id": two,
                "step_id": "two",
                "step_name": "Two",
                "step_kind": "commit",
                "order_index": 1,
                "worker": "odd",
                "worker_version": "1",
                "review_subject": "arguments",
                "review_payload": {"value": "x"},
                "revision": 1,
                "waiting_for": pause["waitingFor"],
                "mock": False,
                "started_at": held["started_at"],
                "watch_id": held["watch_id"],
                "review_url": pause["reviewUrl"],
                "expires_at": None,
            }
        ]

    def test_the_longest_waiting_first_and_no_longer_once_decided(self, sagas: Sagas, team: Team) -> None:
        first, second = sagas.held(), sagas.held()
        ours = {first[0], second[0]}

        def waiting(**query: Any) -> list[str]:
            found = [item["saga_trace_id"] for item in _pending(team.reviewer, limit=100, **query)]
            return [trace_id for trace_id in found if trace_id in ours]

        assert waiting() == waiting(kind="commit") == waiting(namespace=team.namespace) == [first[0], second[0]]
        assert waiting(kind="reason") == waiting(namespace="elsewhere") == []
        assert team.reviewer.post(f"/v1/sagas/{first[0]}/steps/{first[1]}/approve").status_code == 202
        assert waiting() == [second[0]]

    def test_pages(self, sagas: Sagas, team: Team) -> None:
        for _ in range(3):
            sagas.held()
        every = _pending(team.reviewer, limit=100)
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": 2}
        while query.get("cursor", "") is not None:
            page = team.reviewer.get("/v1/sagas/pending-review", params=query).json()
            found += page["items"]
            query["cursor"] = page["next_cursor"]
        assert found == every
        assert _pending(team.reviewer, limit=1, offset=1) == every[1:2]

    @pytest.mark.parametrize("query", ["kind=other", "trace_id=x", "namespace=NO", "limit=0", "kinds=reason"])
    def test_malformed(self, query: str, team: Team) -> None:
        refused(team.reviewer.get(f"/v1/sagas/pending-review?{query}"), 422, "VALIDATION_FAILED", query.split("=")[0])

    def test_of_other_namespaces_nothing_waits(self, sagas: Sagas, stranger: httpx.Client) -> None:
        sagas.held()
        assert _pending(stranger) == []


def _post(
    client: httpx.Client, held: tuple[str, str], verb: str, body: object = None, query: str = ""
) -> httpx.Response:
    path = f"/v1/sagas/{held[0]}/steps/{held[1]}/{verb}{query}"
    return client.post(path) if body is None else client.post(path, json=body)


class TestDecision:
    @pytest.mark.parametrize("verb", ["approve", "reject", "decision"])
    def test_of_what_was_read(self, verb: str, sagas: Sagas, team: Team) -> None:
        """A decision on an outdated revision is refused."""
        held = sagas.held()
        body = {"decision": "APPROVE"} if verb == "decision" else {}
        refused(_post(team.reviewer, held, verb, body | {"revision": 2}), 409, "REVISION_CHANGED")
        assert _post(team.reviewer, held, verb, body | {"revision": 1}).status_code == 202

    # The last is the sample that people paste.
    @pytest.mark.parametrize(
        ("verb", "body"),
        [
            ("approve", None),
            ("approve", {"output": {}, "comment": "fine"}),
            ("approve", {"output": None}),
            ("decision", {"decision": "APPROVE", "output": {}}),
        ],
    )
    def test_approved_it_runs_as_reviewed(self, verb: str, body: object, sagas: Sagas, team: Team) -> None:
        held = sagas.held(input={"value": {"a": 1}})
        answer = _post(team.reviewer, held, verb, body)
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        done = sagas.when(held[0], "COMPLETED")
        assert done["context"]["steps"]["two"]["output"]["data"] == {"value": {"a": 1}}
        again = _post(team.operator, held, verb, body)
        assert (again.status_code, again.json()) == (202, answer.json() | {"status": "already_queued"})

    @pytest.mark.parametrize(
        ("verb", "body", "wanted"),
        [
            ("reject", None, {"message": "rejected by test reviewer"}),
            (
                "reject",
                {"error_details": {"reason": "operator rejected"}},
                {"message": "operator rejected", "reason": "operator rejected"},
            ),
            ("decision", {"decision": "REJECT", "error_details": "too much"}, {"message": "too much"}),
            (
                "decision",
                {"decision": "REJECT", "error_details": {"code": "LIMIT", "message": "over 5", "limit": 5}},
                {"code": "LIMIT", "message": "over 5", "limit": 5},
            ),
        ],
    )
    def test_rejected_what_was_done_is_undone(
        self, verb: str, body: object, wanted: dict[str, Any], sagas: Sagas, team: Team
    ) -> None:
        """The reviewer's error becomes the step's error."""
        held = sagas.held()
        assert _post(team.reviewer, held, verb, body).json()["status"] == "queued"
        ended = sagas.when(held[0], "COMPENSATED")
        error = row(ended, "two")["error_details"]
        assert error == {"code": "HUMAN_REJECTED"} | wanted
        assert ended["error_details"] == error
        assert row(ended, "two")["attempt"] == 0
        assert _post(team.reviewer, held, verb, body).json()["status"] == "already_queued"

    def test_the_contrary_comes_too_late(self, sagas: Sagas, team: Team) -> None:
        held = sagas.held()
        assert _post(team.reviewer, held, "reject", {"comment": "no"}).status_code == 202
        current = refused(_post(team.operator, held, "approve"), 409, "ALREADY_RESOLVED")["current"]
        assert (current["status"], current["decision"]["comment"]) == ("rejected", "no")
        sagas.when(held[0], "COMPENSATED")
        refused(_post(team.operator, held, "retry"), 409, "STEP_FAILED")

    def test_both_doors_are_one(self, sagas: Sagas, team: Team) -> None:
        held = sagas.held()
        watch_id = row(sagas.read(held[0]), "two")["watch_id"]
        assert team.reviewer.post(f"/api/pause/{watch_id}/approve").status_code == 200
        assert _post(team.reviewer, held, "approve").json()["status"] == "already_queued"
        refused(_post(team.reviewer, held, "reject"), 409, "ALREADY_RESOLVED")
        sagas.when(held[0], "COMPLETED")

    def test_nobody_decides_what_they_started(self, sagas: Sagas, team: Team) -> None:
        own = Sagas(team.admin, team.reviewer)
        held = own.held()
        for verb in ("approve", "reject"):
            refused(_post(team.admin, held, verb), 403, "SELF_DECISION")
        for verb in ("approve", "reject", "retry"):
            refused(_post(team.agent, held, verb), 403, "FORBIDDEN")
        assert _post(team.reviewer, held, "approve").status_code == 202

    def test_an_output_that_is_none_of_this_step(self, sagas: Sagas, team: Team) -> None:
        held = sagas.held()
        refused(_post(team.reviewer, held, "approve", {"output": {"a": 1}}), 422, "VALIDATION_FAILED", "output")
        assert sagas.read(held[0])["status"] == "AWAITING_HUMAN"

    def test_what_is_not_held_cannot_be_decided(self, sagas: Sagas, team: Team) -> None:
        trace_id = sagas.start("plain")
        one = span(sagas.when(trace_id, "COMPLETED"), "one")
        for verb, body in (("approve", None), ("reject", None), ("decision", {"decision": "REJECT"}), ("retry", None)):
            refused(_post(team.reviewer, (trace_id, one), verb, body), 409, "STEP_COMPLETED")

    def test_the_namespace_may_be_named(self, sagas: Sagas, team: Team) -> None:
        held = sagas.held()
        refused(_post(team.reviewer, held, "approve", query="?namespace=elsewhere"), 404, "NOT_FOUND")
        assert _post(team.reviewer, held, "approve", query=f"?namespace={team.namespace}").status_code == 202

    @pytest.mark.parametrize(
        ("verb", "body", "path"),
        [
            ("decision", {"decision": "MAYBE"}, "decision"),
            ("decision", {"decision": "approve"}, "decision"),
            ("decision", {"decision": "APPROVE", "error_details": "x"}, "error_details"),
            ("decision", {"decision": "REJECT", "output": {"a": 1}}, "output"),
            ("approve", {"output": []}, "output"),
            ("approve", {"error_details": "x"}, "error_details"),
            ("reject", {"error_details": ["x"]}, "error_details"),
            ("reject", {"error_details": {"x": "x" * 17_000}}, "error_details"),
            ("retry", {"guidance": "x" * 4097}, "guidance"),
            ("retry", {"retry_token": ""}, "retry_token"),
        ],
    )
    def test_malformed(self, verb: str, body: dict[str, Any], path: str, team: Team) -> None:
        refused(_post(team.reviewer, ("0" * 32, "0" * 16), verb, body), 422, "VALIDATION_FAILED", path)

    def test_a_decision_says_which(self, team: Team) -> None:
        refused(_post(team.reviewer, ("0" * 32, "0" * 16), "decision", {}), 422, "VALIDATION_FAILED", "decision")


class TestRetry:
    def test_run_and_held_again_as_often_as_the_manifest_allows(self, sagas: Sagas, team: Team) -> None:
        held = sagas.held()
        first = row(sagas.read(held[0]), "two")["watch_id"]
        body = {"guidance": "more care", "retry_token": "one"}
        answer = _post(team.reviewer, held, "retry", body)
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        assert _post(team.reviewer, held, "retry", body).json() == answer.json() | {"status": "already_queued"}

        def held_anew() -> bool:
            step = row(sagas.read(held[0]), "two")
            return step["status"] == "AWAITING_HUMAN" and step["watch_id"] != first

        until(held_anew)
        assert team.reviewer.get(f"/api/pause/{first}").json()["status"] == "cancelled"
        step = team.reviewer.get(f"/v1/sagas/{held[0]}/steps/{held[1]}").json()
        assert (step["guidance"], step["retries"]) == ("more care", 1)
        refused(_post(team.reviewer, held, "retry"), 409, "RETRIES_USED_UP")
        assert row(sagas.read(held[0]), "two")["status"] == "AWAITING_HUMAN"
        assert _post(team.reviewer, held, "approve", {"revision": 2}).json()["status"] == "queued"
        sagas.when(held[0], "COMPLETED")


def test_a_hold_that_ran_out_cannot_be_approved(sagas: Sagas, team: Team) -> None:
    deploy(team.admin, saga(team.namespace, "brief", step("two", hitl=True, hitl_timeout_seconds=1)))
    trace_id = sagas.start("brief")
    ended = sagas.when(trace_id, "FAILED")
    assert row(ended, "two")["error_details"]["code"] == "HITL_EXPIRED"
    refused(_post(team.reviewer, (trace_id, span(ended, "two")), "approve"), 409, "ALREADY_RESOLVED")


def test_after_a_rerun_a_decision_says_what_it_has_read(sagas: Sagas, team: Team) -> None:
    """Through either door; the problem has what is there now."""
    held = sagas.held()
    assert _post(team.reviewer, held, "retry").status_code == 202
    sagas.when(held[0], "AWAITING_HUMAN")
    until(lambda: _pending(team.reviewer, trace_id=held[0]))
    (now,) = _pending(team.reviewer, trace_id=held[0])
    for verb, body in (("approve", None), ("reject", {}), ("decision", {"decision": "APPROVE", "output": {}})):
        problem = refused(_post(team.reviewer, held, verb, body), 409, "REVISION_REQUIRED")
        assert (problem["current"]["watchId"], problem["current"]["revision"]) == (now["watch_id"], 2)
    for verb in ("approve", "reject"):
        refused(team.reviewer.post(f"/api/pause/{now['watch_id']}/{verb}"), 409, "REVISION_REQUIRED")
    refused(_post(team.reviewer, held, "retry", {"revision": 1}), 409, "REVISION_CHANGED")
    assert _post(team.reviewer, held, "approve", {"revision": 2}).status_code == 202
    sagas.when(held[0], "COMPLETED")


class TestWhatTheToolTakes:
    def test_an_edit_that_it_would_not_take(self, sagas: Sagas, team: Team) -> None:
        """Refused with its place, and still held; what fits is what it is called with."""
        one = step("two", "meet", hitl=True) | {"with": {"count": {"from": "$.input.value"}}}
        deploy(team.admin, saga(team.namespace, "meets", one), "?replace=true")
        trace_id, _ = sagas.held("meets", input={"value": 1})
        watch_id = row(sagas.read(trace_id), "two")["watch_id"]
        pause = team.reviewer.get(f"/api/pause/{watch_id}").json()
        assert pause["argumentsSchema"]["properties"]["count"]["type"] == "integer"
        body = {"arguments": {"count": "many"}}
        refused(
            team.reviewer.post(f"/api/pause/{watch_id}/approve", json=body), 422, "VALIDATION_FAILED", "arguments.count"
        )
        assert team.reviewer.get(f"/api/pause/{watch_id}").json() == pause
        assert team.reviewer.post(f"/api/pause/{watch_id}/approve", json={"arguments": {"count": 0}}).status_code == 200
        done = sagas.when(trace_id, "COMPLETED")
        assert done["context"]["steps"]["two"]["output"]["data"] == {"met": 0}

    def test_a_call_that_cannot_be_made(self, sagas: Sagas, team: Team) -> None:
        """The step opens no review."""
        one = step("two", "meet", hitl=True) | {"with": {"count": {"from": "$.input.nothing"}}}
        deploy(team.admin, saga(team.namespace, "meets-nobody", one), "?replace=true")
        trace_id = sagas.start("meets-nobody")
        failed = row(sagas.when(trace_id, "FAILED"), "two")
        assert (failed["error_details"]["code"], failed["watch_id"]) == ("ARGUMENTS_INVALID", None)
        assert failed["error_details"]["details"]["errors"][0]["path"] == "arguments.count"


def test_arguments_with_a_schema_of_their_own(team: Team) -> None:
    """An agent's pause may have one, too."""
    schema = {"properties": {"eur": {"type": "integer"}}, "required": ["eur"]}
    draft = {"action": "pay", "arguments": {"eur": 5}, "argumentsSchema": schema}
    refused(
        team.agent.post("/api/pause", json=draft | {"arguments": {"eur": "5"}}),
        422,
        "VALIDATION_FAILED",
        "arguments.eur",
    )
    made = team.agent.post("/api/pause", json=draft).json()
    assert made["argumentsSchema"] == schema
    path = f"/api/pause/{made['watchId']}/approve"
    refused(team.reviewer.post(path, json={"arguments": {}}), 422, "VALIDATION_FAILED", "arguments")
    assert team.reviewer.post(path, json={"arguments": {"eur": 4}}).json()["status"] == "approved"
