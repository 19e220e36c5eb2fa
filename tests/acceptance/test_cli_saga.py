"""A whole saga from the terminal: started, watched, reviewed, recovered; for people and for programs."""

import json
import re
from collections.abc import Callable

import httpx
import pytest

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.acceptance.commands import DONE, END_SECONDS, REFUSED, WRONG, Ran, finish, start
from tests.sagas import Sagas, deploy, manifests, row, saga, span, step

Call = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("environ")


@pytest.fixture
def sagas(client_for: Callable[..., httpx.Client], namespace: str) -> Sagas:
    admin = client_for("admin")
    for document in manifests(namespace):
        deploy(admin, document)
    return Sagas(client_for("agent"), client_for("reviewer"))


@pytest.fixture
def started(call: Call, namespace: str) -> Callable[..., str]:
    """`started("held")`: the trace id of a new saga."""

    def make(name: str, *options: str) -> str:
        ran = call("start", "saga", "-n", name, "-v", "1", "--namespace", namespace, "--json", *options)
        assert ran.code == DONE, ran.err
        return str(ran.document["trace_id"])

    return make


class TestDrive:
    def test_from_the_start_to_the_end_by_what_each_command_says_comes_next(
        self, call: Call, sagas: Sagas, namespace: str
    ) -> None:
        ran = call("start", "saga", "-n", "held", "-v", "1", "--namespace", namespace, "--input", '{"value": "gold"}')
        (trace_id,) = re.findall("^([0-9a-f]{32}) is started$", ran.out, re.MULTILINE)
        assert f"sagahold list steps {trace_id} --watch" in ran.out
        two = span(sagas.when(trace_id, "AWAITING_HUMAN"), "two")
        queue = call("review", "list", "--namespace", namespace).out
        for said in (trace_id, two, f"sagahold review show {trace_id}"):
            assert said in queue
        shown = call("review", "show", trace_id).out
        assert re.search(r"^tool +echo *$", shown, re.MULTILINE)
        assert '"value": "gold"' in shown
        assert f"sagahold review approve {trace_id} {two} --revision 1" in shown
        approved = call("review", "approve", trace_id, two, "--comment", "fine")
        assert approved.out.startswith(f"{two} approved by you\n")
        watched = call("list", "steps", trace_id, "--watch")
        assert (watched.code, watched.err) == (DONE, "")
        assert re.search(rf"^{two} +two +COMPLETED", watched.out, re.MULTILINE)
        assert call("review", "approve", trace_id, two).out.startswith(f"{two} approved by you (already recorded)")
        shown = call("show", "step", trace_id, two).out
        assert shown.count('"value": "gold"') == 2
        assert "COMPLETED" in call("show", "saga", trace_id).out

    def test_the_waiting_step_need_not_be_named(self, call: Call, sagas: Sagas, started: Callable[..., str]) -> None:
        trace_id = started("held")
        sagas.when(trace_id, "AWAITING_HUMAN")
        assert call("review", "reject", trace_id, "--error-details", '{"reason": "dear"}').code == DONE
        ended = sagas.when(trace_id, "COMPENSATED")
        wanted = {"code": "HUMAN_REJECTED", "message": "dear", "reason": "dear"}
        assert ended["error_details"] == wanted
        assert '"reason": "dear"' in call("list", "steps", trace_id, "--errors").out
        assert call("review", "approve", trace_id).error == "no such step is held: the saga is COMPENSATED"
        late = call("review", "approve", trace_id, span(ended, "two"))
        assert late.code == REFUSED
        assert re.match(
            r"ALREADY_RESOLVED: wch_\w+ rejected by first reviewer, .* \(this decision is final\)", late.error
        )

    def test_run_again(self, call: Call, sagas: Sagas, started: Callable[..., str]) -> None:
        trace_id = started("held")
        two = span(sagas.when(trace_id, "AWAITING_HUMAN"), "two")
        assert "will run again" in call("review", "retry", trace_id, "--guidance", "more care").out
        shown = wait_until(lambda: "AWAITING_HUMAN" in call("show", "step", trace_id, two).out, END_SECONDS)
        assert shown
        assert re.search("^guidance +more care *$", call("show", "step", trace_id, two).out, re.MULTILINE)
        assert call("review", "retry", trace_id, two).error.startswith("RETRIES_USED_UP: ")
        assert f"review approve {trace_id} {two} --revision 2" in call("review", "show", trace_id).out
        for given, code in ((("--revision", "1"), "REVISION_CHANGED"), ((), "REVISION_REQUIRED")):
            late = call("review", "approve", trace_id, two, *given)
            assert (late.code, late.error.split(":")[0]) == (REFUSED, code)
            assert "the current revision is 2" in late.error
        assert call("review", "approve", trace_id, two, "--revision", "2").code == DONE

    def test_what_another_reviewer_has_edited(
        self, call: Call, client_for: Callable[..., httpx.Client], namespace: str, sagas: Sagas
    ) -> None:
        """Who votes after an edit sees what it was, and which type it has now."""
        agreed = step("one", hitl=True, review={"approvals": 2})
        deploy(client_for("admin"), saga(namespace, "agreed", agreed | {"with": {"value": {"value": "01067"}}}))
        begun = call("start", "saga", "-n", "agreed", "-v", "1", "--namespace", namespace, "--json").document
        one = span(sagas.when(begun["trace_id"], "AWAITING_HUMAN"), "one")
        which = ("review", "show", begun["trace_id"])
        assert "Edited" not in call(*which).out
        watch_id = call("show", "step", begun["trace_id"], one, "--json").document["watch_id"]
        assert "1 of 2" in call("pause", "approve", watch_id, "--arguments", '{"value": "1067"}').out
        shown = call(*which).out
        edit = " ".join(shown.split("\nEdited by reviewers\n")[1].split("\n\n")[0].split())
        assert edit == 'arguments.value - "01067" + "1067"'
        call("saga", "cancel", begun["trace_id"])

    def test_cancelled(self, call: Call, sagas: Sagas, started: Callable[..., str]) -> None:
        trace_id = started("held")
        sagas.when(trace_id, "AWAITING_HUMAN")
        assert "is cancelled" in call("saga", "cancel", trace_id, "--reason", "not needed").out
        watched = call("list", "steps", trace_id, "--watch")
        assert (watched.code, watched.error) == (REFUSED, f"{trace_id} did not complete: COMPENSATED")
        assert call("saga", "cancel", trace_id).error.startswith("SAGA_COMPENSATED: ")
        assert re.search("^cancelled +not needed *$", call("show", "saga", trace_id).out, re.MULTILINE)

    def test_a_models_answer(
        self, call: Call, client_for: Callable[..., httpx.Client], namespace: str, sagas: Sagas
    ) -> None:
        """Looked at, asked for again with a word of advice, put right by hand."""
        admin = client_for("admin")
        deploy(admin, {"kind": "worker", "name": "m", "version": "1", "namespace": namespace, "provider": "mock"})
        draft = {"id": "draft", "kind": "reason", "worker": "m", "worker_version": "1", "hitl": True}
        asks = {
            "agent-adapter": "simple",
            "prompt": {"inline": "Write!"},
            "mock": [{"submit": {"summary": "Dear all"}}],
        }
        deploy(admin, saga(namespace, "letter", draft | asks | {"keep_transcript": True}))
        trace_id = call("start", "saga", "-n", "letter", "-v", "1", "--namespace", namespace, "--json").document[
            "trace_id"
        ]
        held = span(sagas.when(trace_id, "AWAITING_HUMAN"), "draft")
        shown = call("review", "show", trace_id).out
        assert re.search(r"^model +mock", shown, re.MULTILINE), shown
        assert '"summary": "Dear all"' in shown
        assert "will run again" in call("review", "retry", trace_id, "--guidance", "Name her").out
        assert wait_until(lambda: row(sagas.read(trace_id), "draft")["attempt"] == 2, END_SECONDS)
        sagas.when(trace_id, "AWAITING_HUMAN")
        said = json.dumps(call("show", "step", trace_id, held, "--json").document["transcript"])
        assert "Name her" in said
        read = ("review", "approve", trace_id, "--revision", "2", "--output")
        refused = call(*read, '{"summary": 1}')
        assert (refused.code, refused.error.split(":")[0]) == (REFUSED, "VALIDATION_FAILED")
        preview = call(*read, '{"data": {"summary": "Dear Ada"}}', "--preview").out
        assert " ".join(preview.split()) == 'Changes output.summary - "Dear all" + "Dear Ada"'
        approved = call(*read, '{"summary": "Dear Ada"}').out
        assert approved.startswith(f"{preview}{held} approved by you")
        assert call("list", "steps", trace_id, "--watch").code == DONE
        ended = sagas.read(trace_id)
        assert ended["context"]["steps"]["draft"]["output"]["data"] == {"summary": "Dear Ada"}
        assert row(ended, "draft")["mock"] is True


class TestRecovery:
    def test_an_outcome_that_nobody_knows(self, call: Call, sagas: Sagas, started: Callable[..., str]) -> None:
        trace_id = started("crashes")
        two = span(sagas.when(trace_id, "RUNNING", needs_operator=True), "two")
        shown = call("show", "saga", trace_id).out
        assert "needs an operator" in shown
        for outcome in ("done", "not_done"):
            assert f"sagahold saga resolve {trace_id} {two} --outcome {outcome} --evidence" in shown
        assert trace_id in call("list", "sagas", "--needs-operator").out
        assert f"idempotency key  fwd-{trace_id}-{two}" in call("show", "step", trace_id, two).out
        assert re.search(
            r"^✘ sagas       \d+ need an operator: run `sagahold list sagas --needs-operator`",
            call("doctor").out,
            re.MULTILINE,
        )
        assert call("saga", "retry-step", trace_id, two).error.startswith("MAY_RUN_TWICE: ")
        assert call("saga", "resolve", trace_id, two, "--outcome", "done").code == WRONG
        told = call("saga", "resolve", trace_id, two, "--outcome", "done", "--evidence", "seen", "--output", '{"a": 1}')
        assert told.out.startswith(f"{two} is resolved\n")
        assert call("list", "steps", trace_id, "--watch").code == DONE
        assert "first operator: seen" in call("show", "step", trace_id, two).out

    def test_an_undo_that_failed(self, call: Call, sagas: Sagas, started: Callable[..., str]) -> None:
        trace_id = started("undo-fails")
        undo = span(sagas.when(trace_id, "FAILED", needs_operator=True), "one", undo=True)
        shown = call("show", "saga", trace_id).out
        assert f"sagahold saga retry-compensation {trace_id} {undo}" in shown
        assert f"sagahold saga resolve {trace_id} {undo} --outcome not_done --evidence" in shown
        errors = call("list", "steps", trace_id, "--errors").out
        assert f"{undo} undo of one FAILED\n  TOOL_INVOKE_FAILED: " in errors
        assert "cannot" in errors
        options = ("--arguments", '{"message": "never"}', "--reason", "a typo")
        retry = ("saga", "retry-compensation", trace_id, undo, *options)
        preview = call(*retry, "--preview").out
        assert '+ "never"' in preview
        assert sagas.read(trace_id)["status"] == "FAILED"
        assert call(*retry).out.startswith(f"{preview}{undo} will be tried again\n")
        sagas.when(trace_id, "FAILED", needs_operator=True)
        shown = call("show", "step", trace_id, undo).out
        assert re.search("^corrected +its arguments, by first operator .*: a typo *$", shown, re.MULTILINE), shown
        assert preview.removeprefix("Changes\n") in shown.split("\nCorrected\n")[1]
        told = call("saga", "resolve", trace_id, undo, "--outcome", "done", "--evidence", "paid back at the counter")
        assert told.out.startswith(f"{undo} is resolved\n")
        sagas.when(trace_id, "COMPENSATED")


class TestViews:
    def test_lists_fit_80_columns_and_keep_ids_whole(
        self,
        call: Call,
        client_for: Callable[..., httpx.Client],
        namespace: str,
        sagas: Sagas,
        started: Callable[..., str],
    ) -> None:
        long = "a-long-name-" * 5
        wide = step(long, hitl=True, name="A long name " * 16)
        deploy(client_for("admin"), saga(namespace, long, wide))
        trace_id = started(long)
        held = span(sagas.when(trace_id, "AWAITING_HUMAN"), long)
        for command in (
            ("list", "sagas", "--namespace", namespace),
            ("list", "steps", trace_id),
            ("review", "list", "--namespace", namespace),
            ("show", "step", trace_id, held),
        ):
            out = call(*command).out
            tables = [line for line in out.splitlines() if not line.startswith("sagahold ")]
            assert max(map(len, tables)) <= 80, out
            assert trace_id in out or held in out

    def test_filters_of_sagas(self, call: Call, namespace: str, sagas: Sagas, started: Callable[..., str]) -> None:
        plain, failed, held = started("plain"), started("undo-fails"), started("held")
        sagas.when(plain, "COMPLETED")
        sagas.when(failed, "FAILED", needs_operator=True)
        sagas.when(held, "AWAITING_HUMAN")

        def listed(*options: str) -> list[str]:
            items = call("list", "sagas", "--namespace", namespace, "--json", *options).document["items"]
            return [item["trace_id"] for item in items]

        assert listed() == [held, failed, plain]
        assert listed("--status", "FAILED", "--status", "COMPLETED") == [failed, plain]
        assert listed("--in-flight") == [held]
        assert listed("--failed") == [failed]
        both = call("list", "sagas", "--in-flight", "--status", "FAILED")
        assert both.error.startswith("CONFLICTING_FILTERS: ")

    def test_watched_by_a_program(self, call: Call, sagas: Sagas, started: Callable[..., str]) -> None:
        """A line of JSON for each change, until the end."""
        trace_id = started("held")
        sagas.when(trace_id, "AWAITING_HUMAN")
        watching = start("list", "steps", trace_id, "--watch", "--json")
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert first["items"][1]["status"] == "AWAITING_HUMAN"
        assert call("review", "approve", trace_id).code == DONE
        ran = finish(watching)
        assert ran.code == DONE
        assert json.loads(ran.out.splitlines()[-1])["items"][1]["status"] == "COMPLETED"

    def test_json_is_just_what_the_server_answers(
        self, call: Call, stack: Stack, sagas: Sagas, started: Callable[..., str]
    ) -> None:
        trace_id = started("held")
        two = span(sagas.when(trace_id, "AWAITING_HUMAN"), "two")
        headers = {"Authorization": f"Bearer {stack.credentials['reviewer_key']}"}
        for command, path in (
            (("show", "saga", trace_id), f"/v1/sagas/{trace_id}"),
            (("show", "step", trace_id, two), f"/v1/sagas/{trace_id}/steps/{two}"),
            (("list", "steps", trace_id), f"/v1/sagas/steps?trace_id={trace_id}"),
            (("review", "list", "--trace-id", trace_id), f"/v1/sagas/pending-review?trace_id={trace_id}"),
        ):
            assert call(*command, "--json").out == f"{httpx.get(stack.url + path, headers=headers).text}\n"
        waiting = httpx.get(f"{stack.url}/v1/sagas/pending-review?trace_id={trace_id}", headers=headers).json()
        assert call("review", "show", trace_id, "--json").document == waiting["items"][0]

    def test_nothing_that_an_agent_wrote_acts_on_the_terminal(
        self, call: Call, sagas: Sagas, namespace: str, started: Callable[..., str]
    ) -> None:
        evil = "x\x1b[2J\x07\u202e\r"
        trace_id = started("held", "--input", json.dumps({"value": {evil: evil}}))
        two = span(sagas.when(trace_id, "AWAITING_HUMAN"), "two")
        for command in (
            ("review", "show", trace_id),
            ("review", "list", "--namespace", namespace),
            ("show", "saga", trace_id),
            ("show", "step", trace_id, two),
            ("list", "sagas", "--namespace", namespace),
            ("list", "steps", trace_id),
        ):
            assert not set("\x1b\x07\u202e\r") & set(call(*command).out)
        assert r"x\u001b[2J\u0007\u202e\r" in call("review", "show", trace_id).out
        call("review", "reject", trace_id, "--comment", evil)
        sagas.when(trace_id, "COMPENSATED")
        assert not set("\x1b\x07\u202e\r") & set(call("list", "steps", trace_id, "--errors").out)


class TestRefused:
    @pytest.mark.parametrize(
        ("command", "code", "said"),
        [
            (("start", "saga", "-n", "missing", "-v", "1"), REFUSED, "NOT_FOUND: no saga 'missing' '1' is deployed"),
            (("start", "saga", "-n", "x"), WRONG, "Missing option '-v'"),
            (("start", "saga", "-n", "x", "-v", "1", "--input", "{"), WRONG, "Invalid value for '--input'"),
            (("start", "saga", "-n", "x", "-v", "1", "--input", "[]"), REFUSED, "VALIDATION_FAILED: input: "),
            (("show", "saga", "../x"), REFUSED, "NO"),
            (("show", "saga", "0" * 32), REFUSED, "NOT_FOUND: "),
            (("show", "step", "0" * 32, "x"), REFUSED, "NOT_FOUND: "),
            (("list", "steps", "x"), REFUSED, "VALIDATION_FAILED: trace_id: "),
            (("list", "steps", "0" * 32, "--watch"), REFUSED, "NOT_FOUND: "),
            (("list", "sagas", "--status", "DONE"), WRONG, "Invalid value for '--status'"),
            (("review", "show", "0" * 32), REFUSED, "NOT_FOUND: "),
            (("review", "approve", "0" * 32, "0" * 16), REFUSED, "NOT_FOUND: "),
            (("saga", "cancel", "0" * 32), REFUSED, "NOT_FOUND: "),
            (("saga", "retry-step", "0" * 32, "0" * 16), REFUSED, "NOT_FOUND: "),
        ],
    )
    def test_in_one_line(self, command: tuple[str, ...], code: int, said: str, call: Call) -> None:
        ran = call(*command)
        assert ran.code == code
        assert ran.error.startswith(said)
