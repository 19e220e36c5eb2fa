"""Sagas over HTTP: started once, listed, read, cancelled; never seen from another namespace."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import Team, refused
from tests.sagas import Sagas, deploy, manifests, row, saga, span, step


def _start(client: httpx.Client, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/sagas/start", json={"name": "plain", "version": "1"} | body, headers=headers)


class TestStart:
    def test_it_is_accepted_and_runs(self, sagas: Sagas, team: Team) -> None:
        answer = _start(team.agent, input={"value": [1]})
        assert answer.status_code == 202
        assert answer.json() == {"trace_id": answer.json()["trace_id"], "created": True}
        assert re.fullmatch("[0-9a-f]{32}", answer.json()["trace_id"])
        done = sagas.when(answer.json()["trace_id"], "COMPLETED")
        assert done["context"] == {
            "input": {"value": [1]},
            "steps": {"one": {"output": {"data": {"value": [1]}}, "facts": {}}},
        }
        assert (done["name"], done["version"], done["namespace"]) == ("plain", "1", team.namespace)
        assert done["ended_at"] is not None
        assert row(done, "one")["attempt"] == 1

    def test_the_same_key_or_trace_id_is_the_same_saga(self, sagas: Sagas, team: Team) -> None:
        own, key = uuid4().hex, uuid4().hex
        first = _start(team.agent, trace_id=own, idempotency_key=key)
        assert first.json() == {"trace_id": own, "created": True}
        for again in ({"trace_id": own}, {"idempotency_key": key}, {"trace_id": own, "idempotency_key": key}):
            answer = _start(team.agent, **again)
            assert (answer.status_code, answer.json()) == (202, {"trace_id": own, "created": False})
        for other in ({"trace_id": own}, {"idempotency_key": key}):
            refused(_start(team.agent, name="held", **other), 409, "SAGA_STARTED_OTHERWISE")
        assert sagas.read(own)["start_idempotency_key"] == key

    def test_the_key_stays_good_when_the_version_is_replaced(self, sagas: Sagas, team: Team) -> None:
        name, key = f"replaced-{uuid4().hex[:8]}", uuid4().hex
        deploy(team.admin, saga(team.namespace, name, step("one")))
        first = _start(team.agent, name=name, idempotency_key=key).json()
        deploy(team.admin, saga(team.namespace, name, step("other")), "?replace=true")
        assert _start(team.agent, name=name, idempotency_key=key).json() == first | {"created": False}

    def test_a_repeated_request_gets_the_stored_answer(self, sagas: Sagas, team: Team) -> None:
        key = uuid4().hex
        first, again = _start(team.agent, key), _start(team.agent, key)
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.json()["created"] is True
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        refused(_start(team.agent, key, input={"a": 1}), 422, "IDEMPOTENCY_KEY_REUSED")

    def test_a_trace_id_of_another_namespace_keeps_nobody_from_starting(
        self, sagas: Sagas, team: Team, stranger: httpx.Client, elsewhere: str
    ) -> None:
        for document in manifests(elsewhere)[:2]:
            deploy(stranger, document)
        trace_id = sagas.start("plain")
        first = _start(stranger, trace_id=trace_id).json()
        assert first["created"] is True
        assert first["trace_id"] != trace_id
        assert _start(stranger, trace_id=trace_id).json() == {"trace_id": first["trace_id"], "created": False}
        assert sagas.read(trace_id)["namespace"] == team.namespace

    def test_what_is_not_there_cannot_be_started(self, sagas: Sagas, team: Team) -> None:
        refused(_start(team.agent, name="missing"), 404, "NOT_FOUND")
        refused(_start(team.agent, version="2"), 404, "NOT_FOUND")
        refused(_start(team.agent, namespace="elsewhere"), 403, "FORBIDDEN")

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"name": None}, "name"),
            ({"name": "no blanks"}, "name"),
            ({"version": 1}, "version"),
            ({"input": []}, "input"),
            ({"input": {"x": "x" * 270_000}}, "input"),
            ({"trace_id": "ABC"}, "trace_id"),
            ({"trace_id": str(uuid4())}, "trace_id"),
            ({"idempotency_key": ""}, "idempotency_key"),
            ({"namespace": "NO"}, "namespace"),
            ({"nmae": "x"}, "nmae"),
        ],
    )
    def test_malformed(self, body: dict[str, Any], path: str, sagas: Sagas, team: Team) -> None:
        refused(_start(team.agent, **body), 422, "VALIDATION_FAILED", path)


class TestList:
    def test_the_newest_first_also_under_the_callers_own_ids(self, sagas: Sagas, team: Team) -> None:
        key = uuid4().hex
        made = [sagas.start("plain", trace_id=f"{first}{key[1:]}", idempotency_key=f"{first}{key}") for first in "f0a5"]
        found: list[str] = []
        cursor: dict[str, str] = {}
        while len(found) < len(made):
            page = team.agent.get("/v1/sagas", params={"limit": 3, **cursor}).json()
            found += [item["trace_id"] for item in page["items"]]
            cursor = {"cursor": page["next_cursor"]}
        assert found[: len(made)] == made[::-1]
        assert team.agent.get("/v1/sagas?limit=2&offset=1").json()["items"][0]["trace_id"] == made[2]

    def test_filters(self, sagas: Sagas, team: Team) -> None:
        plain, failed, (held, _) = sagas.start("plain"), sagas.start("undo-fails"), sagas.held()
        sagas.when(plain, "COMPLETED")
        sagas.when(failed, "FAILED", needs_operator=True)

        def found(query: str) -> set[str]:
            answer = team.reviewer.get(f"/v1/sagas?limit=100&{query}")
            assert answer.status_code == 200, answer.text
            return {item["trace_id"] for item in answer.json()["items"]} & {plain, failed, held}

        assert found(f"trace_id={held}") == {held}
        assert found(f"namespace={team.namespace}") == {plain, failed, held}
        assert found("namespace=elsewhere") == set()
        assert found("status=COMPLETED") == {plain}
        assert found("status=COMPLETED&status=FAILED") == {plain, failed}
        assert found("in_flight=true") == {held}
        assert found("failed=true") == {failed}
        assert found("in_flight=false&status=FAILED") == {failed}
        assert found("needs_operator=true") == {failed}

    @pytest.mark.parametrize(
        ("query", "path"),
        [
            ("status=DONE", "status[0]"),
            ("status=FAILED&status=", "status[1]"),
            ("failed=1", "failed"),
            ("failed=true&failed=true", "failed"),
            ("trace_id=x", "trace_id"),
            ("stauts=FAILED", "stauts"),
        ],
    )
    def test_malformed(self, query: str, path: str, team: Team) -> None:
        refused(team.reviewer.get(f"/v1/sagas?{query}"), 422, "VALIDATION_FAILED", path)

    def test_two_ways_to_say_which_statuses(self, team: Team) -> None:
        refused(team.reviewer.get("/v1/sagas?in_flight=true&status=FAILED"), 400, "CONFLICTING_FILTERS")


class TestRead:
    def test_steps_come_in_their_order_then_the_undos(self, sagas: Sagas, team: Team) -> None:
        trace_id = sagas.start("undo-fails")
        document = sagas.when(trace_id, "FAILED", needs_operator=True)
        answer = team.agent.get("/v1/sagas/steps", params={"trace_id": trace_id}).json()
        assert answer["items"] == document["steps"]
        assert [(item["step_id"], item["status"], item["order_index"]) for item in answer["items"]] == [
            ("one", "COMPENSATING", 0),
            ("two", "FAILED", 1),
            ("one", "FAILED", 2),
        ]
        assert answer["items"][2]["compensates_span_id"] == answer["items"][0]["step_span_id"]
        first = team.agent.get("/v1/sagas/steps", params={"trace_id": trace_id, "limit": 2}).json()
        rest = team.agent.get(
            "/v1/sagas/steps", params={"trace_id": trace_id, "limit": 2, "cursor": first["next_cursor"]}
        ).json()
        assert first["items"] + rest["items"] == answer["items"]
        assert rest["next_cursor"] is None

    def test_one_step(self, sagas: Sagas, team: Team) -> None:
        trace_id = sagas.start("plain")
        one = span(sagas.when(trace_id, "COMPLETED"), "one")
        for query in ("", f"?namespace={team.namespace}"):
            document = team.agent.get(f"/v1/sagas/{trace_id}/steps/{one}{query}").json()
            assert document["resolved_arguments"] == document["output_payload"] == {"value": "x"}
            assert (document["prompt_ref"], document["evidence"], document["retries"]) == (None, None, 0)
        both = f"/v1/sagas/steps?trace_id={trace_id}&status=FAILED&status=COMPLETED"
        assert [item["status"] for item in team.agent.get(both).json()["items"]] == ["COMPLETED"]
        assert team.agent.get(f"/v1/sagas/steps?trace_id={trace_id}&status=FAILED").json()["items"] == []
        refused(
            team.agent.get(f"/v1/sagas/steps?trace_id={trace_id}&status=DONE"), 422, "VALIDATION_FAILED", "status[0]"
        )
        for path in (f"steps?trace_id={trace_id}&", f"{trace_id}/steps/{one}?"):
            refused(team.agent.get(f"/v1/sagas/{path}namespace=elsewhere"), 404, "NOT_FOUND")

    def test_the_list_of_steps_is_of_one_saga(self, team: Team) -> None:
        refused(team.agent.get("/v1/sagas/steps"), 422, "VALIDATION_FAILED", "trace_id")
        refused(team.agent.get("/v1/sagas/steps?trace_id=x"), 422, "VALIDATION_FAILED", "trace_id")
        refused(team.agent.get(f"/v1/sagas/steps?trace_id={'0' * 32}"), 404, "NOT_FOUND")

    def test_another_namespaces_saga_is_not_there(self, sagas: Sagas, stranger: httpx.Client) -> None:
        trace_id, two = sagas.held()
        refused(stranger.get(f"/v1/sagas/{trace_id}"), 404, "NOT_FOUND")
        refused(stranger.get(f"/v1/sagas/steps?trace_id={trace_id}"), 404, "NOT_FOUND")
        refused(stranger.get(f"/v1/sagas/{trace_id}/steps/{two}"), 404, "NOT_FOUND")
        refused(stranger.post(f"/v1/sagas/{trace_id}/cancel"), 404, "NOT_FOUND")
        for verb in ("approve", "reject", "retry", "retry-step", "retry-compensation"):
            refused(stranger.post(f"/v1/sagas/{trace_id}/steps/{two}/{verb}"), 404, "NOT_FOUND")
        assert stranger.get(f"/v1/sagas?trace_id={trace_id}").json()["items"] == []
        assert stranger.get(f"/v1/sagas/pending-review?trace_id={trace_id}").json()["items"] == []

    @pytest.mark.parametrize("trace_id", ["x", "0" * 31, "0" * 33, "A" * 32, "starting"])
    def test_malformed_ids_are_of_nothing(self, trace_id: str, sagas: Sagas, team: Team) -> None:
        refused(team.operator.get(f"/v1/sagas/{trace_id}"), 404, "NOT_FOUND")
        refused(team.operator.post(f"/v1/sagas/{trace_id}/cancel"), 404, "NOT_FOUND")
        refused(team.operator.post(f"/v1/sagas/{trace_id}/steps/{'0' * 16}/approve"), 404, "NOT_FOUND")

    def test_a_route_of_its_own_is_no_saga(self, team: Team) -> None:
        answer = team.agent.get("/v1/sagas/start")
        refused(answer, 405, "METHOD_NOT_ALLOWED")
        assert "GET" not in answer.headers["Allow"]

    @pytest.mark.parametrize("spanned", ["x", "0" * 16, "A" * 16, "0" * 17])
    def test_malformed_spans_are_of_nothing(self, spanned: str, sagas: Sagas, team: Team) -> None:
        trace_id = sagas.start("plain")
        refused(team.operator.get(f"/v1/sagas/{trace_id}/steps/{spanned}"), 404, "NOT_FOUND")
        for verb in ("approve", "retry", "retry-step"):
            refused(team.operator.post(f"/v1/sagas/{trace_id}/steps/{spanned}/{verb}"), 404, "NOT_FOUND")


class TestCancel:
    def test_a_held_saga_is_undone_and_its_pause_is_gone(self, sagas: Sagas, team: Team) -> None:
        trace_id, two = sagas.held()
        watch_id = row(sagas.read(trace_id), "two")["watch_id"]
        answer = team.operator.post(f"/v1/sagas/{trace_id}/cancel", json={"reason": "not needed"})
        assert answer.status_code == 202
        assert answer.json() == {"status": "queued", "trace_id": trace_id, "saga_status": "AWAITING_HUMAN"}
        ended = sagas.when(trace_id, "COMPENSATED")
        assert ended["cancel_reason"] == "not needed"
        assert row(ended, "two")["error_details"]["code"] == "CANCELLED"
        assert row(ended, "one")["status"] == "COMPENSATED"
        assert team.reviewer.get(f"/api/pause/{watch_id}").json()["status"] == "cancelled"
        refused(team.operator.post(f"/v1/sagas/{trace_id}/cancel"), 409, "SAGA_COMPENSATED")
        refused(team.reviewer.post(f"/v1/sagas/{trace_id}/steps/{two}/approve"), 409, "ALREADY_RESOLVED")

    def test_what_has_ended_cannot_be_cancelled(self, sagas: Sagas, team: Team) -> None:
        trace_id = sagas.start("plain")
        sagas.when(trace_id, "COMPLETED")
        refused(team.operator.post(f"/v1/sagas/{trace_id}/cancel"), 409, "SAGA_COMPLETED")
