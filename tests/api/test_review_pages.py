"""The page of one review, as a browser without scripts uses it: what it shows, what its forms do and refuse."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.dashboard.display.value_text import pretty
from app.dashboard.framework.cookies import SESSION
from cli.devstack import Stack
from domain.values import ids
from models.people import sessions
from services.identity.sign_in_links import make_link
from services.identity.tokens import hash_of
from services.kernel.unit_of_work import Database
from tests.api.conftest import Team, form_token, until
from tests.browser.people import Person, add_person
from tests.sagas import Sagas, deploy, row, saga, step, undo

NASTY = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
TURNED = "safe\u202etxt.exe"


@dataclass(frozen=True)
class Visitor:
    """A signed-in person who sends what a form of the page sends."""

    person: Person
    http: httpx.Client

    def see(self, watch_id: str, status: int = 200) -> str:
        answer = self.http.get(f"/review/{watch_id}")
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, watch_id: str, verb: str, status: int = 303, **fields: str) -> str:
        """With what is hidden in the form as it is now, unless given."""
        hidden = {"csrf_token": form_token(self.see(watch_id)), "revision": revision(self.see(watch_id))}
        answer = self.http.post(f"/review/{watch_id}/{verb}", data=hidden | fields)
        assert answer.status_code == status, answer.text
        if status == 303:
            assert answer.headers["Location"] == f"/review/{watch_id}"
        return answer.text


def revision(page: str) -> str:
    found = re.search('name="revision" value="([0-9]+)"', page)
    return "1" if found is None else found[1]


def words(page: str) -> str:
    """Return the text that a person reads, in one line."""
    return " ".join(unescape(re.sub("<[^>]*>", "", page)).split())


def name_of(page: str, label: str) -> str:
    """Return the name of the input with this label."""
    found = re.search(f'<label for="([^"]+)">{re.escape(label)}', page)
    assert found is not None, label
    return found[1]


@pytest.fixture(scope="module")
def visitor(stack: Stack, stack_database: Database, team: Team) -> Any:
    def make(role: str = "reviewer", name: str = "Rita Ray", groups: Sequence[str] = (), **more: Any) -> Visitor:
        person = add_person(stack_database, role, name=name, groups=groups, **{"namespaces": [team.namespace], **more})
        return Visitor(person, httpx.Client(base_url=stack.url, cookies={SESSION: person.token}))

    return make


@pytest.fixture(scope="module")
def rita(visitor: Any) -> Visitor:
    return visitor()  # type: ignore[no-any-return]


def stored(team: Team, watch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = team.reviewer.get(f"/api/pause/{watch_id}").json()
    return found


def test_it_says_what_each_answer_brings_about(rita: Visitor, team: Team) -> None:
    team.lower_floor()
    made = team.pause(action="Pay it", arguments={"amount": 12.5}, context={"why": "late"}, onTimeout="approve")
    text = words(rita.see(made["watchId"]))
    assert "requested by test agent" in text
    assert "without a decision, it is approved automatically" in text
    assert "If you approve test agent may go ahead with exactly these arguments." in text
    assert "If you reject test agent may not go ahead, and receives your comment." in text
    assert "amount 12.5" in text
    assert "why late" in text


def test_approve(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(arguments={"a": 1})["watchId"]
    rita.send(watch_id, "approve", comment="Go\r\nahead ")
    decision = stored(team, watch_id)["decision"]
    assert (decision["outcome"], decision["decidedBy"]) == ("approved", rita.person.id)
    assert (decision["decidedByName"], decision["comment"]) == ("Rita Ray", "Go\nahead")
    after = words(rita.see(watch_id))
    assert "approved by Rita Ray" in after
    assert "If you approve" not in after


def test_reject(rita: Visitor, team: Team) -> None:
    watch_id = team.pause()["watchId"]
    rita.send(watch_id, "reject", comment="Not today")
    assert (stored(team, watch_id)["status"], stored(team, watch_id)["decision"]["comment"]) == (
        "rejected",
        "Not today",
    )
    assert "test agent may not go ahead." in words(rita.see(watch_id))


def test_opening_the_page_decides_nothing(rita: Visitor, team: Team) -> None:
    watch_id = team.pause()["watchId"]
    for verb in ("approve", "reject", "change", "retry", "claim", "unclaim"):
        assert rita.http.get(f"/review/{watch_id}/{verb}").status_code in (404, 405)
    rita.see(watch_id)
    rita.http.head(f"/review/{watch_id}")
    assert stored(team, watch_id)["status"] == "pending"


def test_the_part_that_changes_is_fetched_only_when_it_has(rita: Visitor, team: Team) -> None:
    watch_id = team.pause()["watchId"]
    first = rita.http.get(f"/review/{watch_id}/progress")
    again = rita.http.get(f"/review/{watch_id}/progress", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    rita.send(watch_id, "approve")
    changed = rita.http.get(f"/review/{watch_id}/progress", headers={"If-None-Match": first.headers["ETag"]})
    assert "approved by Rita Ray" in words(changed.text)


def test_an_edit_is_shown_as_a_difference_before_it_is_approved(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(arguments={"to": "ada", "amount": 5, "note": None})["watchId"]
    page = rita.send(watch_id, "change", 200, json='{"to": "ada", "amount": 50, "cc": ["bob"]}')
    shown = words(page)
    assert "arguments.amount 5 50" in shown
    assert "arguments.note null removed" in shown
    assert "arguments.cc nothing 1 bob" in shown
    assert "arguments.to" not in shown
    assert stored(team, watch_id)["status"] == "pending"
    carried = re.search('name="arguments" value="([^"]+)"', page)
    assert carried is not None
    rita.send(watch_id, "approve", arguments=unescape(carried[1]))
    after = stored(team, watch_id)
    assert (after["status"], after["revision"]) == ("approved", 2)
    assert after["decision"]["arguments"] == {"to": "ada", "amount": 50, "cc": ["bob"]}


@pytest.mark.parametrize(
    ("text", "field_error"),
    [
        ('{"a": 1', "arguments is not JSON: Expecting ',' delimiter (line 1, column 8)"),
        ('{\n"a": nope}', "arguments is not JSON: Expecting value (line 2, column 6)"),
        ('{"a": 1, "a": 2}', "arguments.a occurs twice in one object"),
        ("[1]", "arguments is not a JSON object"),
        ('{"a": 1e999}', "arguments.a is a number that JSON cannot hold"),
        ('{"a": 9007199254740993}', "arguments.a is an integer beyond"),
        ('{"a": "\\u0000"}', "arguments.a contains a NUL character"),
        ('{"a": "\\ud800"}', "arguments.a contains a lone surrogate"),
        ("[" * 70 + "]" * 70, "is nested deeper than 64 levels"),
        ("[" * 100_000, "is nested deeper than 64 levels"),
    ],
)
def test_an_unusable_edit_is_reported_with_its_place_and_kept(
    text: str, field_error: str, rita: Visitor, team: Team
) -> None:
    watch_id = team.pause(arguments={"a": 1})["watchId"]
    page = rita.send(watch_id, "change", 422, json=text)
    assert field_error in words(page)
    assert text in unescape(page)


def test_arguments_may_be_edited_however_large_they_are(rita: Visitor, team: Team) -> None:
    large = {"rows": [{"name": f"row {number}", "text": "é" * 20} for number in range(3_200)]}
    watch_id = team.pause(arguments=large)["watchId"]
    large["rows"][7]["name"] = "seven"
    hidden = {"csrf_token": form_token(rita.see(watch_id)), "revision": "1"}
    # As the form sends it: each part as it is.
    form = {name: (None, text) for name, text in (hidden | {"json": pretty(large)}).items()}
    shown = rita.http.post(f"/review/{watch_id}/change", files=form)
    assert "arguments.rows[7].name row 7 seven" in words(shown.text)
    form = {name: (None, text) for name, text in (hidden | {"arguments": pretty(large)}).items()}
    assert rita.http.post(f"/review/{watch_id}/approve", files=form).status_code == 303
    assert stored(team, watch_id)["decision"]["arguments"] == large


def test_what_is_changed_in_a_long_text_is_shown_where_it_is(rita: Visitor, team: Team) -> None:
    lines = [f"line {number}: as it was" for number in range(1, 60)]
    watch_id = team.pause(arguments={"body": "\n".join(lines)})["watchId"]
    lines[40] = "line 41: something else"
    page = rita.send(watch_id, "change", 200, json=pretty({"body": "\n".join(lines)}))
    places = words(page).split("Nothing is decided yet. Changes")[1].split("Result with your changes")[0]
    assert "arguments.body line 41 …" in places
    assert 'class="value">as it was</strong>' in page
    assert 'class="value">something else</strong>' in page
    assert "line 42" in places
    assert "line 1:" not in places


def test_an_edit_that_changes_nothing_says_so(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(arguments={"a": 1, "b": [2]})["watchId"]
    page = rita.send(watch_id, "change", 200, json='{"b": [2.0], "a": 1}')
    assert "Your edit changes nothing" in words(page)


def test_who_has_read_an_older_revision_decides_nothing_and_sees_what_changed(visitor: Any, team: Team) -> None:
    watch_id = team.pause(arguments={"amount": 5}, review={"approvals": 2})["watchId"]
    rita, tom = visitor(name="Rita"), visitor(name="Tom")
    seen = re.search('name="seen" value="([^"]+)"', rita.see(watch_id))
    assert seen is not None
    tom.send(watch_id, "approve", arguments='{"amount": 500}')
    page = rita.send(watch_id, "approve", 409, revision="1", seen=unescape(seen[1]))
    assert "arguments changed while you read" in words(page)
    assert "arguments.amount 5 500" in words(page)
    assert stored(team, watch_id)["status"] == "pending"
    rita.send(watch_id, "change", 409, revision="1", json='{"amount": 7}')
    rita.send(watch_id, "approve", 422, revision="")
    rita.send(watch_id, "approve")
    assert stored(team, watch_id)["decision"]["arguments"] == {"amount": 500}


def test_an_edit_shows_what_the_agent_posted_and_the_editor(visitor: Any, team: Team) -> None:
    watch_id = team.pause(arguments={"amount": 5, "to": "ada"}, review={"approvals": 3})["watchId"]
    rita, tom, uma = visitor(name="Rita Ray"), visitor(name="Tom <b>"), visitor(name="Uma")
    rita.send(watch_id, "approve")
    assert "edited by" not in words(rita.see(watch_id)).lower()
    tom.send(watch_id, "approve", arguments='{"amount": 500, "to": "ada"}')
    uma.send(watch_id, "approve")
    for visit in (rita, uma):
        page = visit.see(watch_id)
        assert "edited by Tom <b>" in words(page)
        assert "Compared with what test agent posted. Tom <b> made the last edit." in words(page)
        assert "arguments.amount 5 500" in words(page)
        assert "arguments.to" not in words(page)
        assert "<b>" not in page
    rita.send(watch_id, "approve", arguments='{"amount": 5, "to": "ada"}')
    page = words(tom.see(watch_id))
    assert "edited by Rita Ray" in page
    assert "The last edit restored the original arguments." in page


def test_a_decided_review_keeps_showing_its_edit(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(arguments={"amount": 5})["watchId"]
    rita.send(watch_id, "approve", arguments='{"amount": 4}')
    page = words(rita.see(watch_id))
    assert "edited by Rita Ray" in page
    assert "arguments.amount 5 4" in page


def test_who_comes_too_late_sees_who_was_first(visitor: Any, team: Team) -> None:
    watch_id = team.pause(arguments={"amount": 5})["watchId"]
    rita, tom = visitor(name="Rita"), visitor(name="Tom")
    tom.send(watch_id, "reject", comment="No budget")
    page = words(rita.send(watch_id, "approve", 409))
    assert "This review was decided before you sent your decision" in page
    assert "rejected by Tom" in page
    assert "No budget" in page
    rita.send(watch_id, "change", 409, json='{"amount": 6}')


RESPONSE = {
    "type": "object",
    "required": ["method", "amount"],
    "properties": {
        "method": {"enum": ["card", "voucher"], "title": "How"},
        "amount": {"type": "number", "maximum": 200},
        "contact": {"type": "object", "properties": {"phone": {"type": "string", "pattern": "^[0-9]+$"}}},
    },
}


def test_a_required_response_is_a_form(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(responseSchema=RESPONSE)["watchId"]
    page = rita.see(watch_id)
    method, amount, phone = (name_of(page, label) for label in ("How", "amount", "phone"))
    rita.send(watch_id, "approve", **{method: '"card"', amount: "12.50", phone: "0791234567"})
    response = stored(team, watch_id)["decision"]["response"]
    assert response == {"method": "card", "amount": 12.5, "contact": {"phone": "0791234567"}}


def test_an_optional_response_may_be_left_out(rita: Visitor, team: Team) -> None:
    reason = {"type": "string", "title": "Reason", "oneOf": [{"const": "late", "title": "Too late"}]}
    schema = {"type": ["object", "null"], "properties": {"option": reason}}
    left, chosen = (team.pause(responseSchema=schema)["watchId"] for _ in range(2))
    page = rita.see(left)
    assert "Your response (optional)" in words(page)
    rita.send(left, "approve")
    rita.send(chosen, "reject", **{name_of(page, "Reason"): '"late"'})
    assert stored(team, left)["status"] == "approved"
    assert stored(team, chosen)["decision"]["response"] == {"option": "late"}


def test_errors_of_a_response_are_at_their_fields_and_the_input_stays(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(responseSchema=RESPONSE)["watchId"]
    page = rita.see(watch_id)
    method, amount, phone = (name_of(page, label) for label in ("How", "amount", "phone"))
    page = rita.send(watch_id, "approve", 422, **{amount: "lots", phone: "none", "comment": "as agreed"})
    assert re.search(f'id="{amount}-about"><span class="wrong">is not a number', page)
    assert re.search(f'id="{method}-about"><span class="wrong">is required', page)
    assert f'name="{amount}" aria-invalid="true" aria-describedby="{amount}-about" value="lots"' in page
    assert "as agreed</textarea>" in page
    page = rita.send(watch_id, "approve", 422, **{method: '"card"', amount: "300", phone: "none"})
    assert re.search(f'id="{amount}-about"><span class="wrong">300', page)
    assert re.search(f'id="{phone}-about"><span class="wrong">', page)
    assert stored(team, watch_id)["status"] == "pending"
    rita.send(watch_id, "reject")


def test_an_error_in_the_response_does_not_lose_the_edit(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(arguments={"a": 1}, responseSchema=RESPONSE)["watchId"]
    page = rita.send(watch_id, "approve", 422, arguments='{"a": 2}')
    assert "arguments.a 1 2" in words(page)
    assert "Approve with these changes" in page


def test_votes_are_counted_and_shown(visitor: Any, team: Team) -> None:
    rita, tom = visitor(name="Rita", groups=["finance"]), visitor(name="Tom", groups=["finance"])
    watch_id = team.pause(review={"approvals": 2, "groups": ["finance"]})["watchId"]
    assert "nothing happens yet: the review has 0 of 2 approvals." in words(rita.see(watch_id))
    rita.send(watch_id, "approve", comment="Fine by me")
    again = words(rita.see(watch_id))
    assert "You already voted: approved." in again
    assert "nothing happens yet: the review has 1 of 2 approvals." in again
    seen = words(tom.see(watch_id))
    assert "approved Rita" in seen
    assert "Fine by me" in seen
    assert "nothing happens yet" not in seen
    tom.send(watch_id, "approve")
    assert stored(team, watch_id)["status"] == "approved"


def test_who_answers_for_somebody_away_reads_it_before(visitor: Any, team: Team) -> None:
    tom, anne = visitor(name="Tom"), visitor(name="Anne", groups=["finance"])
    watch_id = team.pause(review={"groups": ["finance"]})["watchId"]
    assert "You vote for" not in words(anne.see(watch_id))
    away = {"until": (datetime.now(UTC) + timedelta(days=2)).date().isoformat(), "delegate": tom.person.email}
    form = {"csrf_token": form_token(anne.http.get("/account").text), **away}
    assert anne.http.post("/account/absence", data=form).status_code == 303
    assert "You vote for Anne, who is away. Your vote is recorded under your name, on their behalf." in words(
        tom.see(watch_id)
    )
    assert "You vote for" not in words(tom.see(team.pause()["watchId"]))
    tom.send(watch_id, "approve")
    assert "You vote for" not in words(tom.see(watch_id))
    assert stored(team, watch_id)["decision"]["votes"][0]["onBehalfOf"]["name"] == "Anne"


def test_an_ineligible_person_reads_why_and_finds_no_buttons(visitor: Any, team: Team) -> None:
    visitor(name="Fia", groups=["finance"])
    watch_id = team.pause(review={"groups": ["finance"]})["watchId"]
    page = visitor().see(watch_id)
    assert "This review waits for the group finance; you are signed in as" in words(page)
    assert f'action="/review/{watch_id}/approve"' not in page
    visitor().send(watch_id, "approve", 403)


def test_claim_release_and_take_over(visitor: Any, team: Team) -> None:
    watch_id = team.pause()["watchId"]
    rita, tom = visitor(name="Rita"), visitor(name="Tom")
    rita.send(watch_id, "claim")
    assert "Take over from Rita" in words(tom.see(watch_id))
    assert "Rita works on this review" in words(tom.send(watch_id, "claim", 409))
    tom.send(watch_id, "claim", take_over="1")
    assert stored(team, watch_id)["claim"]["byName"] == "Tom"
    tom.send(watch_id, "unclaim")
    assert stored(team, watch_id)["claim"] is None


@pytest.mark.parametrize("verb", ["approve", "reject", "change", "retry", "claim", "unclaim"])
def test_a_forged_form_does_nothing(verb: str, rita: Visitor, team: Team, visitor: Any) -> None:
    """A form without the token, or with the token of another session, is refused."""
    watch_id = team.pause(arguments={"a": 1})["watchId"]
    other = form_token(visitor().see(watch_id))
    for forged in ({}, {"csrf_token": "x"}, {"csrf_token": other}):
        data = {"revision": "1", "json": "{}"} | forged
        assert rita.http.post(f"/review/{watch_id}/{verb}", data=data).status_code == 403
    assert stored(team, watch_id)["status"] == "pending"
    assert stored(team, watch_id)["claim"] is None


def test_another_namespaces_review_is_not_there(rita: Visitor, visitor: Any, team: Team) -> None:
    watch_id = team.pause(action="A secret plan")["watchId"]
    stranger = visitor(namespaces=["elsewhere"])
    for path in (watch_id, f"{watch_id}/progress", f"wch_{'0' * 32}", "nonsense"):
        answer = stranger.http.get(f"/review/{path}")
        assert answer.status_code == 404
        assert "secret plan" not in answer.text
    csrf = form_token(stranger.http.get("/account").text)
    for verb in ("approve", "reject", "change", "claim", "unclaim", "retry"):
        data = {"csrf_token": csrf, "revision": "1", "json": "{}"}
        assert stranger.http.post(f"/review/{watch_id}/{verb}", data=data).status_code == 404
    assert stored(team, watch_id)["status"] == "pending"
    assert httpx.get(rita.http.base_url.join(f"/review/{watch_id}")).status_code == 303


class Elements(HTMLParser):
    """The elements that a browser finds in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.wrong += [tag] if tag in ("img", "b") else []
        self.wrong += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def nowhere_as_html(page: str) -> None:
    """Nothing of what was slipped in is an element, an attribute or an instruction to the browser."""
    parsed = Elements()
    parsed.feed(page)
    assert parsed.wrong == []
    assert parsed.scripts == page.count('<script type="module" src="/assets/')
    assert "\u202e" not in page


def test_what_an_agent_writes_stays_text(visitor: Any, team: Team) -> None:
    watch_id = team.pause(
        action=NASTY + TURNED,
        context={NASTY: [NASTY, {TURNED: TURNED}], "</pre></details>": "</textarea>"},
        arguments={NASTY: TURNED, "text": "</textarea>" + NASTY},
        responseSchema={
            "type": "object",
            "title": NASTY,
            "properties": {NASTY: {"type": "string", "description": NASTY + TURNED}, "e": {"enum": [NASTY, TURNED]}},
        },
        tags=["<b>"],
        metadata={NASTY: TURNED},
        review={"approvals": 2},
    )["watchId"]
    rita = visitor(name=NASTY + TURNED)
    rita.send(watch_id, "approve", comment=NASTY + TURNED)
    page = rita.see(watch_id)
    nowhere_as_html(page)
    assert 'title="right-to-left override">U+202E</span>' in page
    nowhere_as_html(rita.send(watch_id, "change", 200, json='{"x": "</textarea><script>alert(1)</script>\u202e"}'))
    nowhere_as_html(rita.send(watch_id, "change", 422, json="<script>alert(1)</script>"))


@pytest.fixture(scope="module")
def payout(sagas: Sagas, team: Team) -> Sagas:
    """Two steps that can be undone and one that cannot, then the one that is held."""
    steps = [step("reserve", compensation=undo()), step("note"), step("ship", compensation=undo())]
    held = step("pay", hitl=True, hitl_max_retries=1)
    deploy(team.admin, saga(team.namespace, "payout", *steps, held, step("thank")))
    return sagas


def held(payout: Sagas) -> tuple[str, str]:
    """Return the trace id of a new saga and the `watchId` of its held step."""
    trace_id = payout.start("payout", input={"value": NASTY})
    return trace_id, row(payout.when(trace_id, "AWAITING_HUMAN"), "pay")["watch_id"]


def test_a_step_says_which_tool_is_called_and_what_a_reject_undoes(payout: Sagas, rita: Visitor) -> None:
    trace_id, watch_id = held(payout)
    page = rita.see(watch_id)
    nowhere_as_html(page)
    text = words(page)
    assert "echo will be called with value" in text
    assert "echo is called at once, with exactly these arguments, on behalf of worker odd@1." in text
    assert "Next: Thank, which calls echo. It runs without a review." in text
    assert "2 steps are undone: Ship (by echo), then Reserve (by echo)." in text
    assert "Already done, without an undo: Note. This stays done." in text
    rita.send(watch_id, "reject")
    done = payout.when(trace_id, "COMPENSATED")
    undone = [each["step_id"] for each in done["steps"] if each["compensates_span_id"] is not None]
    assert undone == ["ship", "reserve"]
    until(lambda: "The completed steps are undone." in words(rita.see(watch_id)))


def test_an_approved_steps_page_follows_the_saga(payout: Sagas, rita: Visitor) -> None:
    trace_id, watch_id = held(payout)
    rita.send(watch_id, "approve")
    payout.when(trace_id, "COMPLETED")
    text = words(rita.http.get(f"/review/{watch_id}/progress").text)
    assert "The saga completed." in text


def test_retry_with_guidance(payout: Sagas, rita: Visitor) -> None:
    trace_id, watch_id = held(payout)
    rita.send(watch_id, "retry", guidance="Look again")
    until(lambda: row(payout.read(trace_id), "pay")["watch_id"] not in (None, watch_id))
    new = row(payout.read(trace_id), "pay")["watch_id"]
    assert f'href="/review/{new}"' in rita.see(watch_id)
    page = rita.see(new)
    assert "Look again" in page
    assert "edited by" not in page.lower()
    assert "The manifest allows no more runs" in words(page)
    assert "Approve or reject it" in words(rita.send(new, "retry", 409))
    rita.send(new, "reject")


def test_an_agents_own_context_draws_no_saga(rita: Visitor, team: Team, payout: Sagas) -> None:
    """It may say what it likes: only the engine's holds are steps."""
    trace_id, _ = held(payout)
    context = {"trace_id": trace_id, "step_span_id": "0" * 16, "step_kind": "reason", "tool": "fake", "mock": True}
    watch_id = team.pause(context=context, arguments={})["watchId"]
    page = rita.see(watch_id)
    assert "The saga" not in page
    assert "mock model" not in words(page)
    rita.send(watch_id, "retry", 422)


def test_the_history_is_for_those_who_may_read_the_audit_log(visitor: Any, team: Team) -> None:
    watch_id = team.pause()["watchId"]
    visitor().send(watch_id, "approve")
    assert "pause.approved" in visitor("operator").see(watch_id)
    assert "pause.approved" not in visitor().see(watch_id)


def test_a_link_to_a_review_opens_that_review_and_no_other(
    visitor: Any, team: Team, stack_database: Database, stack: Stack
) -> None:
    watch_id, other = team.pause(arguments={"a": 1})["watchId"], team.pause()["watchId"]
    rita: Person = visitor(name="Rita").person
    with stack_database.transaction() as uow:
        link = make_link(uow, rita.user_id, uow.now + timedelta(hours=1), ids.parse(ids.WATCH, watch_id))
    guest = Visitor(rita, httpx.Client(base_url=stack.url))
    opened = guest.http.get(f"/r/{link}")
    assert (opened.status_code, opened.headers["Location"]) == (303, f"/review/{watch_id}")
    page = guest.see(watch_id)
    assert "/inbox" not in page
    assert guest.http.get(f"/review/{other}").status_code == 303
    csrf = {"csrf_token": form_token(page), "revision": "1"}
    assert guest.http.post(f"/review/{other}/approve", data=csrf).status_code == 303
    assert stored(team, other)["status"] == "pending"
    guest.send(watch_id, "change", 200, json='{"a": 2}')
    guest.send(watch_id, "approve")
    assert stored(team, watch_id)["decision"]["decidedBy"] == rita.id
    assert "approved by Rita" in words(guest.see(watch_id))


def test_the_stages_of_a_policy_are_shown(visitor: Any, team: Team) -> None:
    ops, law = visitor(name="Oda", groups=["ops"]), visitor(name="Lea", groups=["law"])
    stages = [{"name": "Works", "groups": ["ops"]}, {"name": "Legal", "groups": ["law"]}]
    watch_id = team.pause(review={"stages": stages})["watchId"]
    assert "the review has 0 of 1 approval in stage 1 of 2 (“Works”)." in words(ops.see(watch_id))
    assert "This review waits for the group ops" in words(law.see(watch_id))
    ops.send(watch_id, "approve")
    assert "This review waits for the group law" in words(ops.see(watch_id))
    assert "nothing happens yet" not in words(law.see(watch_id))
    law.send(watch_id, "approve")
    assert stored(team, watch_id)["status"] == "approved"


def test_an_expired_review_says_so(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(expiresIn=1)["watchId"]
    until(lambda: "no decision in time" in words(rita.see(watch_id)))
    assert "expired" in words(rita.see(watch_id))


def test_an_open_page_keeps_no_session_alive(visitor: Any, stack_database: Database, team: Team) -> None:
    """It asks for what is new by itself; only what a person does counts as being there."""
    watch_id, rita = team.pause()["watchId"], visitor()
    mine = sessions.c.hash == hash_of(rita.person.token)
    with stack_database.transaction() as uow:
        left_at = uow.now - timedelta(hours=11)
        uow.conn.execute(update(sessions).where(mine).values(seen_at=left_at))
    assert rita.http.get(f"/review/{watch_id}/progress").status_code == 200
    with stack_database.reading() as conn:
        assert conn.execute(select(sessions.c.seen_at).where(mine)).scalar_one() == left_at
    rita.see(watch_id)
    with stack_database.reading() as conn:
        assert conn.execute(select(sessions.c.seen_at).where(mine)).scalar_one() > left_at


def test_the_use_of_an_approval_is_shown(rita: Visitor, team: Team) -> None:
    """Unused, used, and used with an unknown outcome, which a person has to look at."""
    watch_id = team.pause(action=f"Pay {NASTY}", approvalValidFor=3600)["watchId"]
    rita.send(watch_id, "approve")
    page = words(rita.see(watch_id))
    assert "may go ahead." in page
    assert "not used yet validity ends" in page
    headers = {"Idempotency-Key": "pay-0001"}
    assert team.agent.post(f"/api/pause/{watch_id}/consume", headers=headers).status_code == 200
    assert "later, outcome not reported yet" in words(rita.see(watch_id))
    assert "/inbox/decided?use=look" not in rita.http.get("/inbox").text
    outcome = {"status": "unknown", "note": NASTY, "result": {"id": "R-7"}}
    assert team.agent.post(f"/api/pause/{watch_id}/outcome", json=outcome).status_code == 200
    page = rita.see(watch_id)
    assert "later, outcome unknown: needs a look" in words(page)
    assert NASTY in words(page)
    assert NASTY not in page
    assert "R-7" in page
    for path in ("/inbox", "/inbox/decided", "/sagas"):
        assert "/inbox/decided?use=look" in rita.http.get(path).text, path
    for use, there in (("look", True), ("unknown", True), ("missing", False), ("unused", False), ("succeeded", False)):
        listed = rita.http.get("/inbox/decided", params={"use": use, "status": "all"}).text
        assert (f"/review/{watch_id}" in listed) == there, use
    assert "outcome unknown: needs a look" in words(rita.http.get("/inbox/decided?use=look").text)
    assert rita.http.get("/inbox/decided?use=nonsense").status_code == 200
    assert "Settle the outcome" not in page


def test_an_approval_that_is_not_used_in_time(rita: Visitor, team: Team) -> None:
    watch_id = team.pause(approvalValidFor=1)["watchId"]
    rita.send(watch_id, "approve")
    until(lambda: "not used in time validity ended" in words(rita.see(watch_id)))
    assert "may no longer go ahead" in words(rita.see(watch_id))


def test_the_client_says_where_it_asks_from(rita: Visitor, team: Team) -> None:
    """Its words are on the page once; what it sent to its door is folded away."""
    client = {"tool": "Bash", "cwd": f"/srv/{NASTY}", TURNED: TURNED, "note": "n" * 400, "deep": {"a": 1}}
    metadata = {"door": "claude-hook", "client": client, "submission": {"hook": "PreToolUse"}, "team": "ops-team"}
    watch_id = team.pause(metadata=metadata)["watchId"]
    page = rita.see(watch_id)
    text = words(page)
    assert "through Claude Code · in" in text
    assert "Tool Bash" in text
    assert f"/srv/{NASTY}" in text
    assert NASTY not in page
    assert "\u202e" not in page
    assert "n" * 200 + "…" in page
    assert "It is shortened here; the metadata has all of it." in text
    assert "Request as the client sent it" in text
    assert page.count("PreToolUse") == 2  # as a tree, and as JSON
    assert "ops-team" in page
    listed = rita.http.get("/inbox", params={"door": "claude-hook"}).text
    assert f"/review/{watch_id}" in listed
    assert "via Claude Code" in listed
    rita.send(watch_id, "reject")
    assert "via Claude Code" in rita.http.get("/inbox/decided").text


def test_a_client_that_says_little_leaves_no_empty_parts(rita: Visitor, team: Team) -> None:
    page = words(rita.see(team.pause(metadata={"door": "my-client", "client": {"tool": "pay"}})["watchId"]))
    assert "through my-client" in page
    assert "The agent says this about itself." in page
    plain = words(rita.see(team.pause()["watchId"]))
    for absent in ("Metadata", "Request as the client sent it"):
        assert absent not in page
    assert "through" not in plain
    assert "says this about itself" not in plain


def test_an_operator_settles_an_unknown_outcome(visitor: Any, team: Team) -> None:
    """With a note; then it needs no look any more, and the page names the operator."""
    watch_id = team.pause(action="Pay")["watchId"]
    olga = visitor("operator", name=f"Olga {NASTY}")
    olga.send(watch_id, "approve")
    team.agent.post(f"/api/pause/{watch_id}/consume", headers={"Idempotency-Key": "pay-0001"}).raise_for_status()
    assert "Settle the outcome" not in olga.see(watch_id)
    team.agent.post(f"/api/pause/{watch_id}/outcome", json={"status": "unknown"}).raise_for_status()
    assert "Settle the outcome" in words(olga.see(watch_id))
    assert "say how you know" in words(olga.send(watch_id, "settle", 422, outcome="succeeded", note=" "))
    assert "choose whether" in words(olga.send(watch_id, "settle", 422, outcome="unknown", note="in the ledger"))
    assert visitor("reviewer").send(watch_id, "settle", 403, outcome="failed", note="x")
    olga.send(watch_id, "settle", outcome="succeeded", note=f"in the ledger {NASTY}")
    page = olga.see(watch_id)
    assert f"later, succeeded, settled by Olga {NASTY}" in words(page)
    assert f"in the ledger {NASTY}" in words(page)
    assert NASTY not in page
    assert "Settle the outcome" not in page
    assert f"/review/{watch_id}" not in olga.http.get("/inbox/decided?use=look").text
