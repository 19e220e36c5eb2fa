"""An operator's recovery of unknown outcomes and failed undos, and the conflict (409) in all other states."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Team, refused, until
from tests.sagas import Sagas, row, span

EVIDENCE = {"evidence": "looked into the ledger"}


def _post(client: httpx.Client, stuck: tuple[str, str], verb: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/sagas/{stuck[0]}/steps/{stuck[1]}/{verb}", json=body)


def _crashed(sagas: Sagas) -> tuple[str, str]:
    """Its tool's server died in the middle of the call."""
    trace_id = sagas.start("crashes")
    return trace_id, span(sagas.when(trace_id, "RUNNING", needs_operator=True), "two")


def _undo_crashed(sagas: Sagas) -> tuple[str, str]:
    trace_id = sagas.start("undo-crashes")
    return trace_id, span(sagas.when(trace_id, "COMPENSATING", needs_operator=True), "one", undo=True)


def _undo_failed(sagas: Sagas) -> tuple[str, str]:
    trace_id = sagas.start("undo-fails")
    return trace_id, span(sagas.when(trace_id, "FAILED", needs_operator=True), "one", undo=True)


class TestResolve:
    def test_it_was_done(self, sagas: Sagas, team: Team) -> None:
        stuck = _crashed(sagas)
        assert stuck[0] in [
            saga["trace_id"] for saga in team.operator.get("/v1/sagas?needs_operator=true").json()["items"]
        ]
        answer = _post(team.operator, stuck, "resolve", outcome="done", output={"entry": 7}, **EVIDENCE)
        assert (answer.status_code, answer.json()["status"]) == (202, "resolved")
        done = sagas.when(stuck[0], "COMPLETED")
        assert done["context"]["steps"]["two"]["output"]["data"] == {"entry": 7}
        step = team.agent.get(f"/v1/sagas/{stuck[0]}/steps/{stuck[1]}").json()
        assert step["evidence"] == "test operator: looked into the ledger"
        refused(_post(team.operator, stuck, "resolve", outcome="done", **EVIDENCE), 409, "STEP_COMPLETED")

    def test_it_was_not_done(self, sagas: Sagas, team: Team) -> None:
        stuck = _crashed(sagas)
        assert _post(team.operator, stuck, "resolve", outcome="not_done", **EVIDENCE).status_code == 202
        ended = sagas.when(stuck[0], "COMPENSATED")
        assert row(ended, "two")["error_details"]["code"] == "RESOLVED_NOT_DONE"

    @pytest.mark.parametrize(("outcome", "status"), [("done", "COMPENSATED"), ("not_done", "FAILED")])
    def test_an_undo(self, outcome: str, status: str, sagas: Sagas, team: Team) -> None:
        """Where it was not made, what is left to undo waits for an operator."""
        stuck = _undo_crashed(sagas)
        assert _post(team.operator, stuck, "resolve", outcome=outcome, **EVIDENCE).status_code == 202
        sagas.when(stuck[0], status, needs_operator=outcome == "not_done")

    def test_only_what_nobody_knows(self, sagas: Sagas, team: Team) -> None:
        refused(_post(team.operator, sagas.held(), "resolve", outcome="done", **EVIDENCE), 409, "STEP_AWAITING_HUMAN")
        trace_id, _ = _undo_failed(sagas)
        failed = trace_id, span(sagas.read(trace_id), "two")
        refused(_post(team.operator, failed, "resolve", outcome="done", **EVIDENCE), 409, "STEP_FAILED")

    @pytest.mark.parametrize(("outcome", "status"), [("done", "COMPENSATED"), ("not_done", "FAILED")])
    def test_a_failed_undo_that_somebody_has_seen_to(self, outcome: str, status: str, sagas: Sagas, team: Team) -> None:
        """After either outcome, the saga no longer needs an operator."""
        failed = _undo_failed(sagas)
        assert failed[0] in [
            saga["trace_id"] for saga in team.operator.get("/v1/sagas?needs_operator=true").json()["items"]
        ]
        assert _post(team.operator, failed, "resolve", outcome=outcome, **EVIDENCE).status_code == 202
        assert row(sagas.when(failed[0], status), "one", undo=True)["status"] == (
            "COMPLETED" if outcome == "done" else "FAILED"
        )

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"outcome": "done"}, "evidence"),
            ({"outcome": "done", "evidence": ""}, "evidence"),
            ({"outcome": "done", "evidence": "x" * 10_001}, "evidence"),
            ({"outcome": "maybe", "evidence": "x"}, "outcome"),
            ({"evidence": "x"}, "outcome"),
            ({"outcome": "not_done", "evidence": "x", "output": {}}, "output"),
        ],
    )
    def test_malformed(self, body: dict[str, Any], path: str, team: Team) -> None:
        refused(_post(team.operator, ("0" * 32, "0" * 16), "resolve", **body), 422, "VALIDATION_FAILED", path)


class TestRetryStep:
    def test_twice_only_where_it_is_said(self, sagas: Sagas, team: Team) -> None:
        stuck = _crashed(sagas)
        refused(_post(team.operator, stuck, "retry-step"), 409, "MAY_RUN_TWICE")
        assert row(sagas.read(stuck[0]), "two")["attempt"] == 1
        answer = _post(team.operator, stuck, "retry-step", allow_destructive=True, reason="it was not there")
        assert (answer.status_code, answer.json()["status"]) == (202, "requeued")
        until(lambda: row(sagas.read(stuck[0]), "two")["attempt"] == 2)
        sagas.when(stuck[0], "RUNNING", needs_operator=True)

    def test_a_token_is_carried_out_once(self, sagas: Sagas, team: Team) -> None:
        stuck = _crashed(sagas)
        request = {"allow_destructive": True, "recovery_token": "once"}
        answer = _post(team.operator, stuck, "retry-step", **request)
        until(lambda: row(sagas.read(stuck[0]), "two")["attempt"] == 2)
        sagas.when(stuck[0], "RUNNING", needs_operator=True)
        again = _post(team.operator, stuck, "retry-step", **request)
        assert (again.status_code, again.json()) == (202, answer.json())
        refused(_post(team.operator, stuck, "retry-step", **request, force=True), 409, "RECOVERY_TOKEN_REUSED")
        assert row(sagas.read(stuck[0]), "two")["attempt"] == 2

    def test_only_a_stuck_step_of_a_running_saga(self, sagas: Sagas, team: Team) -> None:
        refused(_post(team.operator, sagas.held(), "retry-step", allow_destructive=True), 409, "SAGA_AWAITING_HUMAN")
        trace_id = sagas.start("plain")
        one = span(sagas.when(trace_id, "COMPLETED"), "one")
        refused(_post(team.operator, (trace_id, one), "retry-step"), 409, "SAGA_COMPLETED")
        stuck = _crashed(sagas)
        done = span(sagas.read(stuck[0]), "one")
        refused(_post(team.operator, (stuck[0], done), "retry-step"), 409, "STEP_COMPLETED")
        refused(_post(team.operator, _undo_crashed(sagas), "retry-step"), 409, "STEP_IN_PROGRESS")

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"force": 1}, "force"),
            ({"allow_destructive": "yes"}, "allow_destructive"),
            ({"recovery_token": ""}, "recovery_token"),
            ({"reason": 5}, "reason"),
        ],
    )
    @pytest.mark.parametrize("verb", ["retry-step", "retry-compensation"])
    def test_malformed(self, verb: str, body: dict[str, Any], path: str, team: Team) -> None:
        refused(_post(team.operator, ("0" * 32, "0" * 16), verb, **body), 422, "VALIDATION_FAILED", path)


class TestRetryCompensation:
    def test_an_undo_that_failed(self, sagas: Sagas, team: Team) -> None:
        stuck = _undo_failed(sagas)
        answer = _post(team.operator, stuck, "retry-compensation")
        assert (answer.status_code, answer.json()["status"]) == (202, "scheduled")
        until(lambda: row(sagas.read(stuck[0]), "one", undo=True)["attempt"] == 2)
        sagas.when(stuck[0], "FAILED", needs_operator=True)

    def test_an_undo_that_crashed(self, sagas: Sagas, team: Team) -> None:
        stuck = _undo_crashed(sagas)
        refused(_post(team.operator, stuck, "retry-compensation"), 409, "MAY_RUN_TWICE")
        answer = _post(team.operator, stuck, "retry-compensation", allow_destructive=True)
        assert (answer.status_code, answer.json()["status"]) == (202, "requeued")
        until(lambda: row(sagas.read(stuck[0]), "one", undo=True)["attempt"] == 2)

    def test_only_undos(self, sagas: Sagas, team: Team) -> None:
        stuck = _crashed(sagas)
        refused(_post(team.operator, stuck, "retry-compensation"), 409, "STEP_IN_PROGRESS")
        trace_id, two = sagas.held()
        assert _post(team.reviewer, (trace_id, two), "reject").status_code == 202
        undone = span(sagas.when(trace_id, "COMPENSATED"), "one", undo=True)
        refused(_post(team.operator, (trace_id, undone), "retry-compensation"), 409, "SAGA_COMPENSATED")

    def test_an_undo_whose_arguments_lack_what_its_tool_requires(self, sagas: Sagas, team: Team) -> None:
        """It is not called, and not called a second time: with arguments that an operator gives, it is undone."""
        trace_id = sagas.start("undo-unbound")
        failed = trace_id, span(sagas.when(trace_id, "FAILED", needs_operator=True), "one", undo=True)
        error = row(sagas.read(trace_id), "one", undo=True)["error_details"]
        assert error["code"] == "ARGUMENT_MISSING"
        assert error["message"] == "the tool 'pay_back' requires 'order', which is null: nothing was called"
        refused(_post(team.operator, failed, "retry-compensation", arguments=[1]), 422, "VALIDATION_FAILED")
        refused(_post(team.operator, failed, "retry-step", arguments={"order": "A-1"}), 422, "VALIDATION_FAILED")
        request = {"arguments": {"order": "A-1"}, "reason": "from the ledger"}
        answer = _post(team.operator, failed, "retry-compensation", **request)
        assert (answer.status_code, answer.json()["status"]) == (202, "scheduled")
        sagas.when(trace_id, "COMPENSATED")
        undo = team.agent.get(f"/v1/sagas/{trace_id}/steps/{failed[1]}").json()
        assert undo["output_payload"] == {"order": "A-1", "remark": None}
        assert (undo["resolved_arguments"], undo["correction"]["reason"]) == ({"order": "A-1"}, "from the ledger")
        assert undo["correction"]["before"] == {"order": None, "remark": None}
