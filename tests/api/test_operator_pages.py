"""The operators' pages without scripts: permissions, forms that act once, and text that is never read as HTML."""

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from app.dashboard.framework import csrf
from app.dashboard.framework.cookies import SESSION
from cli.devstack import Stack
from domain.values import ids
from models.notifications import notifications
from services.kernel.unit_of_work import Database
from tests.adapters.receiver import Receiver, reply
from tests.api.conftest import Team, refused, until
from tests.browser.people import add_person
from tests.sagas import Sagas, deploy, row, saga, span, step

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"


@dataclass(frozen=True)
class Browser:
    """A signed-in person whose browser has no scripts."""

    client: httpx.Client
    token: str

    def see(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text[:2000]
        assert "Traceback" not in answer.text
        assert HOSTILE not in answer.text
        assert "<script>" not in answer.text
        return answer.text

    def send(self, path: str, **fields: str) -> httpx.Response:
        answer = self.client.post(path, data={csrf.FIELD: csrf.csrf_token(self.token), **fields})
        assert "Traceback" not in answer.text
        return answer


@dataclass(frozen=True)
class Crew:
    reviewer: Browser
    operator: Browser
    admin: Browser
    stranger: Browser


@pytest.fixture(scope="module")
def crew(stack_database: Database, stack: Stack, team: Team, elsewhere: str) -> Iterator[Crew]:
    made = []
    for role, namespace in (
        ("reviewer", team.namespace),
        ("operator", team.namespace),
        ("admin", team.namespace),
        ("admin", elsewhere),
    ):
        who = add_person(stack_database, role, namespaces=[namespace], name=f"The {role}")
        made.append(Browser(httpx.Client(base_url=stack.url, cookies={SESSION: who.token}, timeout=70), who.token))
    yield Crew(*made)
    for browser in made:
        browser.client.close()


@pytest.fixture(scope="module")
def stuck(sagas: Sagas) -> Callable[[], tuple[str, str]]:
    """`stuck()`: a new saga whose tool's server died in the middle of the call, and that step."""

    def make() -> tuple[str, str]:
        trace_id = sagas.start("crashes")
        return trace_id, span(sagas.when(trace_id, "RUNNING", needs_operator=True), "two")

    return make


@pytest.fixture(scope="module")
def unsettled(stuck: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """One for the tests that only look, or are refused."""
    return stuck()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def field(page: str, name: str) -> str:
    """Return the value of the page's first input of this name."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, f"there is no {name}"
    return html.unescape(found[1])


def text(page: str) -> str:
    """Return the text that a person reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


class TestWhoMayWhat:
    @pytest.mark.parametrize("path", ["/webhooks", "/notifications", "/charts", "/charts/outcomes.svg", "/audit"])
    def test_a_reviewer_sees_no_operators_page(self, path: str, crew: Crew) -> None:
        crew.reviewer.see(path, 403)
        assert crew.operator.client.get(path).status_code == 200

    def test_a_reviewer_reads_sagas_but_settles_nothing(
        self, crew: Crew, sagas: Sagas, unsettled: tuple[str, str]
    ) -> None:
        trace_id, span_id = unsettled
        assert trace_id in crew.reviewer.see("/sagas")
        page = crew.reviewer.see(f"/sagas/{trace_id}")
        assert "An operator must resolve this" in text(page)
        assert "<form" not in page.partition("<main")[2]
        for verb in ("resolve", "retry-step", "retry-compensation"):
            answer = crew.reviewer.send(f"/sagas/{trace_id}/steps/{span_id}/{verb}", outcome="done", evidence="x")
            assert answer.status_code == 403
        assert crew.reviewer.send(f"/sagas/{trace_id}/cancel").status_code == 403
        assert sagas.read(trace_id)["needs_operator"]

    def test_how_far_a_tool_says_that_it_is(self, crew: Crew, sagas: Sagas) -> None:
        trace_id = sagas.start("tells", input={"value": f"page 3 {HOSTILE}"})
        progress = "tool progress: 3 of 3, page 3"
        until(lambda: progress in text(crew.operator.see(f"/sagas/{trace_id}/progress")))
        assert sagas.read(trace_id)["status"] == "RUNNING"

    def test_another_namespaces_rows_are_not_there(
        self, crew: Crew, team: Team, unsettled: tuple[str, str], receiver: Receiver
    ) -> None:
        trace_id, span_id = unsettled
        assert trace_id not in crew.stranger.see("/sagas")
        crew.stranger.see(f"/sagas/{trace_id}", 404)
        crew.stranger.see(f"/sagas/{trace_id}/progress", 404)
        fields = {"outcome": "done", "evidence": "x"}
        assert crew.stranger.send(f"/sagas/{trace_id}/steps/{span_id}/resolve", **fields).status_code == 404
        assert crew.stranger.send(f"/sagas/{trace_id}/cancel").status_code == 404
        delivery = a_delivery(team, receiver)
        crew.stranger.see(f"/webhooks/{delivery}", 404)
        assert crew.stranger.send(f"/webhooks/{delivery}/redeliver", attempts="1").status_code == 404
        assert delivery not in crew.stranger.see("/webhooks")
        crew.stranger.see(f"/audit?namespace={team.namespace}", 403)
        crew.stranger.see(f"/audit/verify?namespace={team.namespace}", 403)

    def test_only_with_the_forms_own_token(self, crew: Crew, unsettled: tuple[str, str], sagas: Sagas) -> None:
        trace_id, span_id = unsettled
        path = f"/sagas/{trace_id}/steps/{span_id}/resolve"
        answer = crew.operator.client.post(path, data={"outcome": "done", "evidence": "x"})
        assert answer.status_code == 403
        assert sagas.read(trace_id)["needs_operator"]

    def test_only_an_admin_exports_the_audit_log(self, crew: Crew) -> None:
        assert "/audit/export" not in crew.operator.see("/audit")
        crew.operator.see("/audit/export", 403)
        answer = crew.admin.client.get("/audit/export")
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert '"heads"' in answer.text.splitlines()[-1]


class TestSagas:
    def test_what_needs_an_operator_stands_on_top(self, crew: Crew, sagas: Sagas, unsettled: tuple[str, str]) -> None:
        trace_id, _ = unsettled
        later = sagas.start("plain")
        sagas.when(later, "COMPLETED")
        page = crew.operator.see("/sagas")
        assert page.index(trace_id) < page.index(later)
        assert page.count(f"/sagas/{trace_id}") == 1

    def test_how_many_wait_stands_on_every_page_of_an_operator(
        self, crew: Crew, sagas: Sagas, stuck: Callable[[], tuple[str, str]]
    ) -> None:
        """And goes when it is settled."""

        def waiting(page: str) -> set[str]:
            return set(re.findall(r'<span class="count">(\d+)<', page))

        trace_id, two = stuck()
        waits = {str(len(sagas.agent.get("/v1/sagas?needs_operator=true").json()["items"]))}
        for path in ("/inbox", "/sagas", "/webhooks"):
            assert waiting(crew.operator.see(path)) == waits
        assert waiting(crew.reviewer.see("/inbox")) == waiting(crew.stranger.see("/sagas")) == set()
        path = f"/v1/sagas/{trace_id}/steps/{two}"
        key = sagas.agent.get(path).json()["idempotency_key"]
        assert key == f"fwd-{trace_id}-{two}"
        assert f"Idempotency key <code>{key}</code>" in crew.operator.see(f"/sagas/{trace_id}")
        crew.operator.send(f"/sagas/{trace_id}/steps/{two}/resolve", outcome="done", evidence="seen")
        assert waiting(crew.operator.see("/inbox")) == {str(int(*waits) - 1)} - {"0"}

    def test_filters(self, crew: Crew, sagas: Sagas, unsettled: tuple[str, str]) -> None:
        trace_id, _ = unsettled
        done = sagas.start("plain")
        sagas.when(done, "COMPLETED")
        for query in ("status=COMPLETED", f"trace_id={done.upper()}"):
            page = crew.operator.see(f"/sagas?{query}")
            assert done in page
            assert f"/sagas/{trace_id}" not in page
        assert f"/sagas/{done}" not in crew.operator.see("/sagas?only=needs_operator")
        assert "A trace id has 32 hexadecimal digits" in crew.operator.see("/sagas?trace_id=abc%00")
        assert "No saga matches the filter" in crew.operator.see("/sagas?namespace=nowhere")

    def test_older_ones_follow(self, crew: Crew, sagas: Sagas) -> None:
        started = [sagas.start("plain") for _ in range(31)]
        first = crew.operator.see("/sagas?status=COMPLETED&status=nonsense&only=")
        until(lambda: all(sagas.read(each)["status"] == "COMPLETED" for each in started))
        first = crew.operator.see("/sagas?status=COMPLETED")
        older = re.search(r'href="(/sagas\?[^"]*cursor=[^"]*)"', first)
        assert older is not None
        second = crew.operator.see(html.unescape(older[1]))
        shown = [each for each in started if f"/sagas/{each}" in first]
        assert len(shown) == 30
        assert all((f"/sagas/{each}" in second) is (each not in shown) for each in started)

    def test_a_hostile_tool_is_only_read(self, crew: Crew, team: Team, sagas: Sagas) -> None:
        """Its output, its error and what the saga was started with."""
        failing = {"message": {"from": "$.input.value"}}
        deploy(team.admin, saga(team.namespace, "hostile", step("one"), step("two", "fail", **{"with": failing})))
        trace_id = sagas.start("hostile", input={"value": HOSTILE})
        sagas.when(trace_id, "FAILED")
        for path in (f"/sagas/{trace_id}", "/sagas?status=FAILED", f"/sagas/{trace_id}/progress"):
            assert "alert(1)" in text(crew.operator.see(path))

    def test_there_is_no_such_saga(self, crew: Crew) -> None:
        crew.operator.see(f"/sagas/{'0' * 32}", 404)
        crew.operator.see("/sagas/%3Cscript%3E", 404)


class TestRecovery:
    def test_it_was_done(self, crew: Crew, sagas: Sagas, stuck: Any) -> None:
        trace_id, span_id = stuck()
        path = f"/sagas/{trace_id}/steps/{span_id}/resolve"
        request = {"outcome": "done", "evidence": "the ledger has it", "output": '{"entry": 7}'}
        assert "The outcome of a call is unknown" in crew.operator.see(f"/sagas/{trace_id}")
        answer = crew.operator.send(path, **request)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/sagas/{trace_id}?said=resolved")
        done = sagas.when(trace_id, "COMPLETED")
        assert done["context"]["steps"]["two"]["output"]["data"] == {"entry": 7}
        assert "The operator: the ledger has it" in text(crew.operator.see(answer.headers["Location"]))
        again = crew.operator.send(path, **request)
        assert again.status_code == 409
        assert "Nothing was done" in again.text

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"outcome": "done", "evidence": "  "}, "evidence is missing: say how you know"),
            ({"evidence": "I looked"}, "outcome is missing: choose whether it was done"),
            ({"outcome": "done", "evidence": "I looked", "output": "{R-7}"}, "output "),
        ],
    )
    def test_what_was_typed_is_kept(
        self, fields: dict[str, str], says: str, crew: Crew, sagas: Sagas, unsettled: tuple[str, str]
    ) -> None:
        trace_id, span_id = unsettled
        answer = crew.operator.send(f"/sagas/{trace_id}/steps/{span_id}/resolve", **fields)
        assert answer.status_code == 422
        assert says in text(answer.text)
        assert fields["evidence"].strip() in answer.text
        assert sagas.read(trace_id)["needs_operator"]

    def test_a_second_time_only_where_it_is_said_and_only_once(self, crew: Crew, sagas: Sagas, stuck: Any) -> None:
        trace_id, span_id = stuck()
        path = f"/sagas/{trace_id}/steps/{span_id}/retry-step"
        page = crew.operator.see(f"/sagas/{trace_id}")
        assert "It may charge, send or delete a second time" in text(page)
        token = field(page, "recovery_token")
        refused = crew.operator.send(path, recovery_token=token)
        assert refused.status_code == 409
        assert "The call may already have been carried out" in text(refused.text)
        request = {"recovery_token": token, "allow_destructive": "on", "reason": "it is not in the ledger"}
        assert crew.operator.send(path, **request).headers["Location"] == f"/sagas/{trace_id}?said=requeued"
        until(lambda: row(sagas.read(trace_id), "two")["attempt"] == 2)
        sagas.when(trace_id, "RUNNING", needs_operator=True)
        assert crew.operator.send(path, **request).headers["Location"] == f"/sagas/{trace_id}?said=requeued"
        assert row(sagas.read(trace_id), "two")["attempt"] == 2

    def test_an_undo_that_failed(self, crew: Crew, sagas: Sagas) -> None:
        trace_id = sagas.start("undo-fails")
        undo = span(sagas.when(trace_id, "FAILED", needs_operator=True), "one", undo=True)
        path = f"/sagas/{trace_id}/steps/{undo}/retry-compensation"
        page = crew.operator.see(f"/sagas/{trace_id}")
        assert f'action="{path}"' in page
        for wrong in ("[1]", "{"):
            answer = crew.operator.send(path, recovery_token=field(page, "recovery_token"), arguments=wrong)
            assert (answer.status_code, "arguments " in text(answer.text)) == (422, True)
        corrected = {"arguments": '{"message": "still cannot"}', "reason": "a hint"}
        answer = crew.operator.send(path, recovery_token=field(page, "recovery_token"), **corrected)
        assert answer.headers["Location"] == f"/sagas/{trace_id}?said=scheduled"
        until(lambda: row(sagas.read(trace_id), "one", undo=True)["attempt"] == 2)
        sagas.when(trace_id, "FAILED", needs_operator=True)
        told = text(crew.operator.see(f"/sagas/{trace_id}"))
        assert re.search("Arguments corrected by The operator, .*: a hint", told)
        assert "still cannot" in told
        assert page.count(f'action="/sagas/{trace_id}/steps/{undo}/resolve"') == 1
        fields = {"outcome": "not_done", "evidence": "the customer keeps it"}
        crew.operator.send(f"/sagas/{trace_id}/steps/{undo}/resolve", **fields)
        sagas.when(trace_id, "FAILED")
        assert "Resolved by an operator: The operator: the customer keeps it" in text(
            crew.operator.see(f"/sagas/{trace_id}")
        )

    def test_a_worker_that_is_at_it_is_left_alone(self, crew: Crew, team: Team, sagas: Sagas) -> None:
        """Its step is taken from it only where that is said; what it brings back is then dropped."""
        deploy(team.admin, saga(team.namespace, "hangs", step("one", "hang", timeout_seconds=30)))
        trace_id = sagas.start("hangs")
        until(lambda: row(sagas.read(trace_id), "one")["status"] == "IN_PROGRESS")
        path = f"/sagas/{trace_id}/steps/{span(sagas.read(trace_id), 'one')}/retry-step"
        page = crew.operator.see(f"/sagas/{trace_id}")
        assert "Take over from the running worker" in text(page)
        request = {"recovery_token": field(page, "recovery_token"), "allow_destructive": "on"}
        answer = crew.operator.send(path, **request)
        assert "A worker is running the step now" in crew.operator.see(answer.headers["Location"])
        assert row(sagas.read(trace_id), "one")["attempt"] == 1
        request["recovery_token"] = field(crew.operator.see(f"/sagas/{trace_id}"), "recovery_token")
        assert crew.operator.send(path, force="on", **request).headers["Location"].endswith("said=requeued")
        until(lambda: row(sagas.read(trace_id), "one")["attempt"] == 2)

    def test_only_the_buttons_that_do_something(self, crew: Crew, sagas: Sagas) -> None:
        trace_id = sagas.start("plain")
        sagas.when(trace_id, "COMPLETED")
        assert "<form" not in crew.operator.see(f"/sagas/{trace_id}").partition("<main")[2]
        held, _ = sagas.held()
        page = crew.operator.see(f"/sagas/{held}").partition("<main")[2]
        assert re.findall(r'action="([^"]*)"', page) == [f"/sagas/{held}/cancel"]
        assert f'href="/review/{row(sagas.read(held), "two")["watch_id"]}"' in page

    def test_a_saga_is_given_up(self, crew: Crew, sagas: Sagas) -> None:
        trace_id, _ = sagas.held()
        answer = crew.operator.send(f"/sagas/{trace_id}/cancel", reason="the order was withdrawn")
        assert answer.headers["Location"] == f"/sagas/{trace_id}?said=cancelled"
        sagas.when(trace_id, "COMPENSATED")
        assert "the order was withdrawn" in crew.operator.see(f"/sagas/{trace_id}")
        again = crew.operator.send(f"/sagas/{trace_id}/cancel")
        assert again.status_code == 409
        assert "there is nothing to cancel" in again.text


def a_delivery(team: Team, receiver: Receiver) -> str:
    """Its id, once it was attempted."""
    watch_id = team.pause(callbackUrl=receiver.url)["watchId"]
    team.reviewer.post(f"/api/pause/{watch_id}/approve", json={})
    path = f"/v1/webhooks/deliveries?watch_id={watch_id}"
    until(lambda: any(each["attempts"] for each in team.operator.get(path).json()["items"]))
    (found,) = team.operator.get(path).json()["items"]
    return str(found["id"])


class TestWebhooks:
    def test_what_a_receiver_answers_is_only_read(self, crew: Crew, team: Team, receiver: Receiver) -> None:
        receiver.script = reply(500, HOSTILE.encode())
        delivery = a_delivery(team, receiver)
        page = crew.operator.see(f"/webhooks/{delivery}")
        assert "HTTP 500" in page
        assert "alert(1)" in text(page)
        assert delivery in crew.operator.see("/webhooks?status=pending&type=pause.approved")
        assert delivery not in crew.operator.see("/webhooks?type=pause.rejected")

    def test_sent_again_once(self, crew: Crew, team: Team, receiver: Receiver) -> None:
        delivery = a_delivery(team, receiver)
        seen = field(crew.operator.see(f"/webhooks/{delivery}"), "attempts")
        path = f"/webhooks/{delivery}/redeliver"
        assert crew.operator.send(path, attempts=seen).headers["Location"] == f"/webhooks/{delivery}?said=sent"
        until(lambda: len(receiver.requests) == 2)
        read = f"/v1/webhooks/deliveries/{delivery}"
        until(lambda: team.operator.get(read).json()["attempts"] == 2)
        again = crew.operator.send(path, attempts=seen)
        assert "Nothing was sent" in crew.operator.see(again.headers["Location"])
        assert team.operator.get(read).json()["status"] == "delivered"
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1

    def test_an_endpoint_is_tested_and_gets_what_it_missed(self, crew: Crew, team: Team, receiver: Receiver) -> None:
        new = {"url": receiver.url, "namespaces": [team.namespace], "headers": {"X-Secret": "hush"}}
        endpoint = team.admin.post("/v1/webhooks/endpoints", json=new).json()["id"]
        page = crew.operator.see("/webhooks")
        assert receiver.url in page
        assert "hush" not in page
        sent = crew.operator.send(f"/webhooks/endpoints/{endpoint}/test")
        assert "webhook.test" in crew.operator.see(sent.headers["Location"])
        until(lambda: any(b"webhook.test" in request.body for request in receiver.requests))
        recover = f"/webhooks/endpoints/{endpoint}/recover"
        answer = crew.operator.send(recover, since="24")
        assert "The endpoint missed no delivery" in crew.operator.see(answer.headers["Location"])
        assert crew.operator.send(recover, since="yesterday").status_code == 422
        assert crew.stranger.send(recover, since="24").status_code == 404
        team.admin.delete(f"/v1/webhooks/endpoints/{endpoint}")

    def test_a_receiver_that_takes_nothing_is_named(self, crew: Crew, team: Team, receiver: Receiver) -> None:
        """After its third failure, with since when; in the metric too."""
        receiver.script = reply(503)
        for number in range(3):
            assert f"the last {number} attempts failed" not in text(crew.operator.see("/webhooks"))
            a_delivery(team, receiver)
        page = text(crew.operator.see("/webhooks"))
        origin = receiver.url.rpartition("/")[0]
        assert f"Failing receivers {origin} {team.namespace} the last 3 attempts failed, since" in page
        assert "Failing receivers" not in text(crew.stranger.see("/webhooks"))
        assert "sagahold_failing_receivers 1.0" in team.operator.get("/metrics").text
        receiver.script = reply(200)
        a_delivery(team, receiver)
        assert "Failing receivers" not in text(crew.operator.see("/webhooks"))
        until(lambda: "sagahold_failing_receivers 0.0" in team.operator.get("/metrics").text)

    def test_an_id_that_is_none_is_not_searched_for(self, crew: Crew) -> None:
        assert "were ignored: pause" in text(crew.operator.see("/webhooks?pause=wch_1"))


class TestCharts:
    def test_each_has_its_numbers_beside_it(self, crew: Crew, team: Team) -> None:
        team.reviewer.post(f"/api/pause/{team.pause()['watchId']}/approve", json={})
        team.pause()
        # On a slow machine the page shows a recent count.
        until(lambda: f'<th scope="row">{team.namespace}</th>' in crew.operator.see("/charts"))
        pictures = set(re.findall(r'src="(/charts/[^"]*)"', crew.operator.see("/charts")))
        assert pictures
        for name in pictures:
            answer = crew.operator.client.get(name)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
            assert "script-src" not in answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "<script" not in answer.text
            assert "href" not in answer.text
            assert "prefers-color-scheme:dark" in answer.text

    def test_of_ones_own_namespaces(self, crew: Crew, team: Team) -> None:
        team.pause()
        assert team.namespace not in crew.stranger.see("/charts")
        assert team.namespace not in crew.stranger.client.get("/charts/waiting.svg").text

    def test_there_is_no_such_chart(self, crew: Crew) -> None:
        crew.operator.see("/charts/secrets.svg", 404)


class TestAudit:
    def test_who_did_what(self, crew: Crew, team: Team) -> None:
        watch_id = team.pause(action=HOSTILE)["watchId"]
        team.reviewer.post(f"/api/pause/{watch_id}/reject", json={"comment": HOSTILE})
        page = crew.operator.see(f"/audit?subject={watch_id}")
        assert "pause.rejected" in page
        assert "test reviewer" in page
        assert "pause.created" in page
        assert "pause.created" not in crew.operator.see(f"/audit?subject={watch_id}&type=pause.rejected")
        assert "No entry matches the filter" in crew.operator.see("/audit?until=2020-01-01")
        crew.operator.see("/audit?since=9999-12-31&until=9999-12-31")

    def test_the_chain_is_verified(self, crew: Crew, team: Team) -> None:
        team.pause()
        assert re.search(
            r"The audit log is intact\. \d+ entr(y was|ies were) checked", text(crew.operator.see("/audit/verify"))
        )


class TestNotifications:
    def test_nobody_was_written_to(self, crew: Crew) -> None:
        assert "There are no notifications yet" in crew.stranger.see("/notifications")
        assert "invalid filter was ignored" in crew.operator.see("/notifications?pause=x")
        assert crew.operator.send(f"/notifications/ntf_{'0' * 32}/retry").status_code == 404

    def test_a_failed_one_is_seen_and_sent_again(self, crew: Crew, team: Team, stack_database: Database) -> None:
        pause = ids.parse(ids.WATCH, team.pause()["watchId"])
        with stack_database.transaction() as uow:
            id_, now = uow.new_id(), uow.now
            row = {"id": id_, "pause_id": pause, "once": uow.new_id(), "namespace": team.namespace}
            row |= {"recipient": "ann@example.com", "channel": "json://user:hush@127.0.0.1:9/", "reason": "waiting"}
            row |= {"status": "failed", "attempts": 5, "last_error": HOSTILE, "created_at": now, "completed_at": now}
            uow.conn.execute(insert(notifications).values(row | {"due_at": now, "hint_at": now}))
        page = crew.operator.see("/notifications?status=failed")
        assert "alert(1)" in text(page)
        assert "hush" not in page
        path = f"/notifications/{ids.text(ids.NOTIFICATION, id_)}/retry"
        assert f'action="{path}"' in page
        assert "ann@example.com" not in crew.stranger.see("/notifications")
        assert crew.stranger.send(path).status_code == 404
        assert crew.operator.send(path).headers["Location"] == "/notifications?said=retried"


def test_decided_reviews(crew: Crew, team: Team) -> None:
    """The API and the page list decisions, also only one's own, and nothing of other namespaces."""
    theirs, own = (
        team.pause(action=f"{name} {HOSTILE}", metadata={"door": door})["watchId"]
        for name, door in (("theirs", "mcp"), ("own", "my-client"))
    )
    team.reviewer.post(f"/api/pause/{theirs}/reject", json={"comment": HOSTILE}).raise_for_status()
    assert crew.operator.send(f"/review/{own}/approve", revision="1").status_code == 303

    def listed(**query: str) -> list[str]:
        answer = team.reviewer.get("/api/pause", params=query)
        assert answer.status_code == 200, answer.text
        return [item["watchId"] for item in answer.json()["items"]]

    assert listed(decided="true")[:2] == [own, theirs]
    assert listed(decided_by="me")[0] == theirs
    assert own not in listed(decided_by="me", status="rejected")
    assert listed(decided_by="the OPERATOR")[0] == own
    refused(team.reviewer.get("/api/pause", params={"decided": "yes"}), 422, "VALIDATION_FAILED", "decided")
    links = [f"/review/{watch_id}" for watch_id in (own, theirs)]
    everybody = crew.operator.see("/inbox/decided")
    assert everybody.index(links[0]) < everybody.index(links[1])
    assert "by The operator" in everybody
    mine = crew.operator.see("/inbox/decided?mine=1")
    assert [link in mine for link in links] == [True, False]
    rejected = crew.operator.see("/inbox/decided?status=rejected&since=nonsense")
    assert [link in rejected for link in links] == [False, True]
    assert not any(link in crew.stranger.see("/inbox/decided") for link in links)
    for door, link in zip(("my-client", "mcp"), links, strict=True):
        through = crew.operator.see(f"/inbox/decided?door={door}")
        assert [each in through for each in links] == [each == link for each in links]
    assert "/inbox/decided" in crew.reviewer.see("/inbox")


def test_an_operator_sees_endpoints_and_changes_none(crew: Crew, team: Team) -> None:
    url = "https://hooks.example.com/seen-by-operators"
    new = {"url": url, "namespaces": [team.namespace], "headers": {"X-Password": "ajar"}}
    made = team.admin.post("/v1/webhooks/endpoints", json=new).json()
    try:
        shown = crew.operator.see("/endpoints")
        assert url in shown
        assert "X-Password" in shown
        assert "ajar" not in shown
        assert 'action="/endpoints' not in shown
        assert 'action="/endpoints' in crew.admin.see("/endpoints")
        assert url not in crew.stranger.see("/endpoints")
        assert 'href="/endpoints"' in crew.operator.see("/webhooks")
        listed = team.operator.get("/v1/webhooks/endpoints")
        (seen,) = [each for each in listed.json()["items"] if each["id"] == made["id"]]
        assert seen["headers"] == {"X-Password": "***"}
        assert made["secret"] not in listed.text
    finally:
        team.admin.delete(f"/v1/webhooks/endpoints/{made['id']}")
