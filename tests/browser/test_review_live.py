"""A review's page that stays open while others work on the same review."""

from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect

from tests.browser.people import Person


def test_what_others_do_shows_and_nothing_moves_under_a_thumb(
    signed_in: Callable[..., Page], person: Callable[..., Person], client_for: Callable[..., httpx.Client]
) -> None:
    """While the review is pending, a notice reports a change; the page reloads only after the decision."""
    rita, tom = person(name="Rita Ray"), person(name="Tom Two")
    made = client_for("agent").post("/api/pause", json={"action": "Pay", "review": {"approvals": 2}}).json()
    path = f"/review/{made['watchId']}"
    open_page, page = signed_in(who=rita), signed_in(who=tom)
    open_page.goto(path)
    open_page.evaluate("document.body.dataset.still = 'the same page'")
    page.goto(path)
    page.get_by_role("button", name="Approve").click()
    expect(open_page.locator(".votes")).to_contain_text("Tom Two")
    expect(open_page.get_by_text("This review has changed since you opened it")).to_be_visible()
    expect(open_page.locator("body")).to_have_attribute("data-still", "the same page")
    page.goto(path)
    page.get_by_role("button", name="Reject").click()
    expect(open_page.locator(".outcome")).to_contain_text("rejected by Tom Two")
    expect(open_page.get_by_role("button", name="Approve")).to_have_count(0)


def test_what_is_being_typed_stays(
    signed_in: Callable[..., Page], person: Callable[..., Person], client_for: Callable[..., httpx.Client]
) -> None:
    made = client_for("agent").post("/api/pause", json={"action": "Pay"}).json()
    path = f"/review/{made['watchId']}"
    open_page, page = signed_in(), signed_in()
    open_page.goto(path)
    open_page.get_by_label("Comment").fill("Half a sent")
    page.goto(path)
    page.get_by_role("button", name="Approve").click()
    expect(open_page.locator(".outcome")).to_contain_text("approved by")
    expect(open_page.get_by_label("Comment")).to_have_value("Half a sent")
