"""The approver sees everything that will be executed, and the button names the number of hidden lines."""

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.agent import Agent
from tests.browser.axe import violations
from tests.browser.install import no_axe
from tests.browser.layout import PHONE, sideways

STATEMENTS = [f"UPDATE t{number}\n   SET a = {number}\n WHERE b IS NULL;" for number in range(59)] + ["DROP TABLE t;"]
DIFF = "--- a/x\n+++ b/x\n@@ -1,400 +1,400 @@\n" + "\n".join(
    f"{'-' if number % 2 else '+'}    value_{number} = compute(the_old_value_of_{number}, and_something_else)"
    for number in range(400)
)


@pytest.fixture
def agent(client_for: Callable[..., httpx.Client]) -> Agent:
    return Agent(client_for("agent"))


def approve(page: Page) -> object:
    return page.locator("#approve button")


def height(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollHeight"))


@pytest.mark.parametrize("scripts", [True, False])
def test_sixty_statements_are_shown_whole(signed_in: Callable[..., Page], agent: Agent, scripts: bool) -> None:
    watch_id = agent.post("Migrate", arguments={"statements": STATEMENTS, "manifest": {"spec": {"a": {"b": 1}}}})
    page = signed_in(java_script_enabled=scripts)
    page.goto(f"/review/{watch_id}")
    for text in (page.get_by_text("DROP TABLE t;"), page.get_by_text("SET a = 58")):
        expect(text.first).to_be_visible()
    expect(page.locator(".value .grave").last).to_have_text("DROP")
    expect(page.locator("#approve button:not(.no-default)")).to_have_text("Approve")
    # In their own lines, each letter as wide as the others.
    first = page.locator("pre.value").first
    assert first.inner_text() == STATEMENTS[0]
    assert "mono" in first.evaluate("each => getComputedStyle(each).fontFamily").lower()


def test_beyond_a_generous_size_the_button_says_what_was_not_shown(
    signed_in: Callable[..., Page], agent: Agent
) -> None:
    watch_id = agent.post("Many", arguments={f"key {number}": number for number in range(3_000)})
    page = signed_in(**PHONE)
    page.goto(f"/review/{watch_id}")
    button = page.get_by_role("button", name="Approve (2940 of 3000 not shown)")
    expect(button).to_be_visible()
    assert page.locator("#approve").evaluate("each => each.getBoundingClientRect().top") < 5_000
    # The decision is in sight from the beginning.
    expect(page.get_by_role("link", name="Approve…")).to_be_in_viewport()
    assert sideways(page) == []
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_text("key 2999", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    expect(page.locator("[data-unseen-notice]")).to_be_hidden()
    page.get_by_role("link", name="Approve…").tap()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_in_viewport()


def test_a_long_diff_has_a_window_of_its_own(signed_in: Callable[..., Page], agent: Agent) -> None:
    watch_id = agent.post("Patch", arguments={"patch": DIFF})
    page = signed_in(**PHONE)
    page.goto(f"/review/{watch_id}")
    expect(page.get_by_role("button", name=re.compile(r"Approve \(\d+ of 403 not shown\)"))).to_be_visible()
    assert height(page) < 4_000
    expect(page.locator(".value .removed")).to_have_count(200)
    page.locator(".window pre").evaluate("each => { each.scrollTop = each.scrollHeight }")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    assert sideways(page) == []
    if no_axe() is None:
        assert violations(page) == []


def test_all_is_shown_without_scripts(signed_in: Callable[..., Page], agent: Agent) -> None:
    watch_id = agent.post("Patch", arguments={"patch": DIFF, "rows": list(range(1_000))})
    page = signed_in(java_script_enabled=False)
    page.goto(f"/review/{watch_id}")
    expect(page.get_by_role("button", name=re.compile(r"Approve \(\d+ of 1403 not shown\)"))).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    expect(page.locator(".value").get_by_text("999", exact=True)).to_be_visible()
    assert height(page) > 20_000


@pytest.mark.parametrize("scripts", [True, False])
def test_an_edit_is_confirmed_with_all_of_it_before_the_eyes(
    signed_in: Callable[..., Page], agent: Agent, scripts: bool
) -> None:
    watch_id = agent.post("Patch", arguments={"rows": list(range(1_000)), "to": "a"})
    page = signed_in(java_script_enabled=scripts)
    page.goto(f"/review/{watch_id}")
    page.get_by_text("Edit the arguments").click()
    box = page.get_by_label("Arguments as JSON")
    box.fill(box.input_value().replace('"a"', '"b"'))
    page.get_by_role("button", name="Preview changes").click()
    expect(page.get_by_role("button", name="Approve with these changes (970 of 1001 not shown)")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("button", name="Approve with these changes", exact=True)).to_be_visible()
    expect(page.locator(".value").get_by_text("999", exact=True)).to_be_visible()
    assert agent.read(watch_id)["status"] == "pending"


def test_several_at_once_say_it_too(signed_in: Callable[..., Page], agent: Agent) -> None:
    agent.post("One", arguments={"sql": "SELECT 1;\nDROP TABLE t;"})
    agent.post("Two", context={"rows": list(range(100))})
    page = signed_in()
    page.goto("/inbox")
    for name in ("One", "Two"):
        page.get_by_label(f"Select: {name}").check()
    page.get_by_role("button", name="Approve 2…").click()
    expect(page.locator(".value").get_by_text("DROP TABLE t;")).to_be_visible()
    expect(page.get_by_role("button", name="Approve these 2 reviews (40 of 102 not shown)")).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_role("button", name="Approve these 2 reviews", exact=True)).to_be_visible()
