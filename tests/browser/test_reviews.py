"""From the agent's request to its answer, as a person goes that way: with a mouse, with keys only, on a phone."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.acceptance.example import ADA, Example
from tests.adapters.notify.mail_server import MailServer
from tests.browser.agent import Agent
from tests.browser.axe import violations
from tests.browser.install import no_axe
from tests.browser.layout import PHONE
from tests.browser.people import Person
from tests.browser.test_mail_scanner import links, told
from tests.browser.troubles import Troubles

REFUND = {"order": 1042, "amount_cents": 12900}
LATE = "This review was decided before you sent your decision"


@pytest.fixture
def agent(client_for: Callable[..., httpx.Client]) -> Agent:
    return Agent(client_for("agent"))


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def until(page: Page, happens: Callable[[], bool]) -> None:
    """Wait while the page's events arrive."""
    deadline = time.monotonic() + 90
    while not happens():
        assert time.monotonic() < deadline, "it did not come about in time"
        page.wait_for_timeout(20)


def outcome(page: Page) -> Any:
    return page.locator("#progress .outcome .pill").first


def test_a_pause_arrives_live_is_edited_and_approved_and_the_agent_goes_on(
    signed_in: Callable[..., Page], agent: Agent, troubles: Troubles
) -> None:
    page, other = signed_in(), signed_in()
    # As while the database is away: a browser follows no stream again after such a response.
    troubles.expect("status of 503")
    other.route("**/inbox/events*", lambda route: route.fulfill(status=503), times=1)
    for each in (page, other):
        each.goto("/inbox")
        expect(each.get_by_text("No reviews are waiting")).to_be_visible()
        each.evaluate("globalThis.loaded = 'once'")
    watch_id = agent.post("Refund order 1042", arguments=REFUND, context={"customer": "Ada"})
    posted = time.monotonic()
    resumed = agent.wait(watch_id)
    link = page.get_by_role("link", name="Refund order 1042")
    expect(link).to_be_visible()
    expect(other.get_by_role("link", name="Refund order 1042")).to_be_visible()
    expect(page).to_have_title("(1) Inbox – Sagahold")
    assert page.evaluate("globalThis.loaded") == "once"
    link.click()
    page.get_by_text("Edit the arguments").click()
    page.get_by_label("Arguments as JSON").fill('{"order": 1042, "amount_cents": 9900}')
    press(page, "Preview changes")
    change = page.get_by_role("row", name="amount_cents")
    expect(change).to_contain_text("12900")
    expect(change).to_contain_text("9900")
    page.get_by_label("Comment").fill("the shipping was not late")
    press(page, "Approve with these changes")
    expect(outcome(page)).to_have_text("approved")
    told = resumed.result(90)
    print(f"from the agent's request to the decision, by an untiring reviewer: {told.at - posted:.1f} s")
    assert told.document["status"] == "approved"
    assert told.document["decision"]["arguments"] == {"order": 1042, "amount_cents": 9900}
    assert told.document["decision"]["comment"] == "the shipping was not late"
    expect(other.get_by_text("No reviews are waiting")).to_be_visible()
    expect(other).to_have_title("Inbox – Sagahold")
    assert other.evaluate("globalThis.loaded") == "once"


def test_from_the_mail_to_the_decision_on_a_phone(
    visit: Callable[..., BrowserContext],
    client_for: Callable[..., httpx.Client],
    agent: Agent,
    namespace: str,
) -> None:
    """Without a password: the mail's link opens this review, and a tap decides."""
    with MailServer() as server:
        email = f"{namespace}@example.com"
        anne = {"email": email, "name": "Anne Archer", "role": "reviewer", "namespaces": [namespace]}
        client_for("admin").post("/v1/people", json=anne | {"channels": [server.url(email)]}).raise_for_status()
        watch_id, mail = told(agent, server)
    arrived = time.monotonic()
    resumed = agent.wait(watch_id)
    (link,) = links(mail)
    page = visit(**PHONE).new_page()
    page.goto(link)
    page.get_by_role("button", name="Approve", exact=True).tap()
    answer = resumed.result(90)
    print(f"from the mail's arrival to the agent going on, a new browser included: {answer.at - arrived:.1f} s")
    assert answer.document["status"] == "approved"
    expect(outcome(page)).to_have_text("approved")


def test_rejected(signed_in: Callable[..., Page], agent: Agent) -> None:
    watch_id = agent.post("Drop the table of customers")
    resumed = agent.wait(watch_id)
    page = signed_in()
    page.goto(f"/review/{watch_id}")
    page.get_by_label("Comment").fill("not on a Friday")
    press(page, "Reject")
    expect(outcome(page)).to_have_text("rejected")
    told = resumed.result(90).document
    assert (told["status"], told["decision"]["comment"]) == ("rejected", "not on a Friday")


def test_a_broken_edit_is_reported_and_no_input_is_lost(
    signed_in: Callable[..., Page], agent: Agent, troubles: Troubles
) -> None:
    troubles.expect("status of 422")
    watch_id = agent.post("Refund order 1042", arguments=REFUND)
    page = signed_in()
    page.goto(f"/review/{watch_id}")
    page.get_by_text("Edit the arguments").click()
    page.get_by_label("Arguments as JSON").fill('{"order": 1042,')
    press(page, "Preview changes")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Arguments as JSON")).to_have_value('{"order": 1042,')
    assert agent.read(watch_id)["status"] == "pending"


def test_what_the_agent_asks_is_a_form(signed_in: Callable[..., Page], agent: Agent, troubles: Troubles) -> None:
    troubles.expect("status of 422")
    schema = {
        "type": "object",
        "properties": {"region": {"enum": ["eu", "us"]}, "replicas": {"type": "integer", "minimum": 1}},
        "required": ["region", "replicas"],
        "additionalProperties": False,
    }
    watch_id = agent.post("Deploy", responseSchema=schema)
    page = signed_in()
    page.goto(f"/review/{watch_id}")
    page.get_by_label("region").select_option(label="eu")
    page.get_by_label("replicas").fill("0")
    press(page, "Approve")
    expect(page.get_by_label("replicas")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("replicas").fill("3")
    press(page, "Approve")
    expect(outcome(page)).to_have_text("approved")
    assert agent.read(watch_id)["decision"]["response"] == {"region": "eu", "replicas": 3}


def test_each_shape_has_its_control_and_comes_back_as_the_right_json(
    signed_in: Callable[..., Page], agent: Agent
) -> None:
    properties = {
        "plan": {"oneOf": [{"const": {"n": 1}, "title": "Small"}, {"const": {"n": 9}, "title": "Large"}]},
        "days": {"type": "array", "items": {"enum": ["mon", "tue", "wed"]}},
        "names": {"type": "array", "items": {"type": "string"}},
        "on": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "why": {"type": "string", "nullable": True},
        "many": {"enum": [None, *range(100)]},
        "text": {"type": "string", "maxLength": 500},
        "nested": {"type": "object", "properties": {"level": {"type": "integer", "default": 3}}},
    }
    watch_id = agent.post("Ask", responseSchema={"properties": properties, "required": list(properties)})
    page = signed_in()
    page.goto(f"/review/{watch_id}")
    if no_axe() is None:
        assert violations(page) == []
    page.get_by_label("plan").select_option(label="Large")
    page.get_by_label("days").select_option(label=["mon", "wed"])
    page.get_by_label("names").fill("Ada\nBob")
    page.get_by_label("on", exact=True).fill("2026-01-31")
    page.get_by_label("at", exact=True).fill("2026-01-31T08:30")
    page.get_by_label("Time zone of at").fill("+02:00")
    page.get_by_label("null (no value)").check()
    page.get_by_label("many").select_option(label="77")
    page.get_by_label("text").fill("two\nlines")
    press(page, "Approve")
    expect(outcome(page)).to_have_text("approved")
    assert agent.read(watch_id)["decision"]["response"] == {
        "plan": {"n": 9},
        "days": ["mon", "wed"],
        "names": ["Ada", "Bob"],
        "on": "2026-01-31",
        "at": "2026-01-31T08:30:00+02:00",
        "why": None,
        "many": 77,
        "text": "two\nlines",
        "nested": {"level": 3},
    }


def test_arguments_are_edited_in_a_form_that_shows_a_change_of_type(
    signed_in: Callable[..., Page], agent: Agent
) -> None:
    schema = {"properties": {"zip": {"type": ["string", "number"]}, "amount": {"type": "integer"}}}
    watch_id = agent.post("Send", arguments={"zip": "01067", "amount": 3}, argumentsSchema=schema)
    page = signed_in()
    page.goto(f"/review/{watch_id}")
    page.get_by_text("Edit the arguments").click()
    page.get_by_label("zip").fill("1067")
    page.get_by_label("amount").fill("4")
    # In an edit Enter leads to what it changes.
    page.get_by_label("amount").press("Enter")
    expect(page.get_by_role("row", name="arguments.zip")).to_contain_text("type changes: text → number")
    expect(page.get_by_role("row", name="arguments.amount")).not_to_contain_text("type")
    press(page, "Approve with these changes")
    expect(outcome(page)).to_have_text("approved")
    assert agent.read(watch_id)["decision"]["arguments"] == {"zip": 1067, "amount": 4}


def test_retry_with_guidance(
    signed_in: Callable[..., Page], client_for: Callable[..., httpx.Client], namespace: str, tmp_path: Path
) -> None:
    """The model runs again; its new output has a new review, to which the old page links."""
    outreach = Example("outreach", tmp_path, namespace, client_for)
    trace = outreach.start(**ADA)
    before = outreach.held(trace)
    page = signed_in("operator")
    page.goto(f"/review/{before['watch_id']}")
    page.locator("summary", has_text="Request another run").click()
    page.get_by_label("Guidance").fill("Say that we bake on Sundays")
    press(page, "Request another run")
    page.get_by_role("link", name="open the next review").click()
    page.wait_for_url(lambda url: before["watch_id"] not in url)
    press(page, "Approve")
    expect(outcome(page)).to_have_text("approved")
    expect(page.get_by_text("The saga completed.")).to_be_visible()
    assert outreach.await_status(trace, "COMPLETED")
    assert len(outreach.entries()) == 1


def test_a_rejected_step_has_what_was_done_before_undone(
    signed_in: Callable[..., Page], client_for: Callable[..., httpx.Client], namespace: str, tmp_path: Path
) -> None:
    refund = Example("refund", tmp_path, namespace, client_for)
    trace = refund.start(customer="ada@example.com", amount=250)
    page = signed_in()
    page.goto(f"/review/{refund.held(trace)['watch_id']}")
    expect(page.locator("#reject")).to_contain_text("Tell the customer that the refund is on its way")
    press(page, "Reject")
    expect(page.get_by_text("The completed steps are undone.")).to_be_visible()
    assert refund.ledger() == ["send_email", "withdraw_email"]


def test_two_approvals_at_once_make_one_decision_and_one_notice(
    signed_in: Callable[..., Page], person: Callable[..., Person], agent: Agent, troubles: Troubles
) -> None:
    troubles.expect("status of 409")
    pressed: list[Route] = []
    for round_ in range(3):
        pressed.clear()
        watch_id = agent.post(f"Deploy {round_}")
        pages = [signed_in(who=person(name=name)) for name in ("Anne Archer", "Otto Orr")]
        for page in pages:
            page.goto(f"/review/{watch_id}")
            page.route(re.compile(r"/(approve|reject)$"), lambda route: pressed.append(route))
        for page, name in zip(pages, ("Approve", "Reject"), strict=True):
            page.get_by_role("button", name=name, exact=True).evaluate("button => { setTimeout(() => button.click()) }")
        # Neither gets through before both have pressed.
        for page, verb in zip(pages, ("approve", "reject"), strict=True):
            until(page, lambda verb=verb: any(route.request.url.endswith(verb) for route in pressed))
        for route in pressed:
            route.continue_()
        for page in pages:
            expect(outcome(page)).to_be_visible()
        decided = agent.read(watch_id)["status"]
        winner, late = pages if decided == "approved" else pages[::-1]
        expect(late.get_by_text(LATE)).to_be_visible()
        expect(winner.get_by_text(LATE)).to_have_count(0)
        for page in pages:
            expect(outcome(page)).to_have_text(decided)
            page.close()


def test_two_have_to_approve(signed_in: Callable[..., Page], person: Callable[..., Person], agent: Agent) -> None:
    """The first one's page says that nothing happens yet, and sees the second one's vote come in."""
    watch_id = agent.post("Wire 40,000", review={"approvals": 2})
    resumed = agent.wait(watch_id)
    anne, otto = (signed_in(who=person(name=name)) for name in ("Anne Archer", "Otto Orr"))
    for page in (anne, otto):
        page.goto(f"/review/{watch_id}")
        expect(page.locator("#votes + p")).to_contain_text("0 of 2 approvals")
    expect(anne.locator("#approve")).to_contain_text("nothing happens yet")
    press(anne, "Approve")
    expect(anne.locator("#votes + p")).to_contain_text("1 of 2 approvals")
    expect(anne.get_by_text("You already voted: approved.")).to_be_visible()
    assert agent.read(watch_id)["status"] == "pending"
    expect(otto.locator("#votes ~ .votes")).to_contain_text("Anne Archer")
    press(otto, "Approve")
    expect(outcome(otto)).to_have_text("approved")
    expect(outcome(anne)).to_have_text("approved")
    assert resumed.result(90).document["status"] == "approved"


def test_keys_alone(signed_in: Callable[..., Page], agent: Agent) -> None:
    """The inbox and a decision without a pointer, by the short keys and by Tab."""
    first, second = agent.post("First"), agent.post("Second")
    page = signed_in()
    page.goto("/inbox")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="First")).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="Second")).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("a")
    page.wait_for_url(f"**/review/{first}#approve")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(outcome(page)).to_have_text("approved")
    page.goto(f"/review/{second}")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Reject":
            break
    page.keyboard.press("Enter")
    expect(outcome(page)).to_have_text("rejected")
    assert agent.read(first)["status"] == "approved"
    assert agent.read(second)["status"] == "rejected"


def test_on_a_phone(signed_in: Callable[..., Page], agent: Agent) -> None:
    """The consequences of an approval are on the screen beside its button, which is as large as a thumb."""
    watch_id = agent.post("Refund order 1042", arguments=REFUND, context={"customer": "Ada", "note": "x" * 300})
    page = signed_in(**PHONE)
    page.goto("/inbox")
    page.get_by_role("link", name="Refund order 1042").tap()
    button = page.get_by_role("button", name="Approve", exact=True)
    button.scroll_into_view_if_needed()
    expect(page.locator("#approve p").first).to_be_in_viewport()
    box = button.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    button.tap()
    expect(outcome(page)).to_have_text("approved")
    assert agent.read(watch_id)["status"] == "approved"


@pytest.mark.parametrize("verb", ["Approve", "Reject"])
def test_without_javascript(signed_in: Callable[..., Page], agent: Agent, verb: str) -> None:
    watch_id = agent.post("Refund order 1042", arguments=REFUND)
    page = signed_in(java_script_enabled=False)
    page.goto("/inbox")
    page.get_by_role("link", name="Refund order 1042").click()
    press(page, verb)
    expect(outcome(page)).to_have_text({"Approve": "approved", "Reject": "rejected"}[verb])
    assert agent.read(watch_id)["decision"]["outcome"] == {"Approve": "approved", "Reject": "rejected"}[verb]


def test_several_at_once_and_what_came_of_each(
    signed_in: Callable[..., Page], agent: Agent, client_for: Callable[..., httpx.Client]
) -> None:
    """One of them was decided in the meantime: the others are not held up by it."""
    ids = [agent.post(f"Deploy {number}") for number in range(3)]
    page = signed_in()
    page.goto("/inbox")
    for number in range(3):
        page.get_by_label(f"Select: Deploy {number}").check()
    page.get_by_role("button", name="Approve 3…").click()
    client_for("reviewer").post(f"/api/pause/{ids[1]}/reject").raise_for_status()
    press(page, "Approve these 3 reviews")
    expect(page.get_by_role("heading", level=1)).to_have_text("2 of 3 approved")
    assert [agent.read(each)["status"] for each in ids] == ["approved", "rejected", "approved"]
