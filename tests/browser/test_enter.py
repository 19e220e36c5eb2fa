"""Enter in a field, with scripts and without: no form of the dashboard does by it what cannot be taken back."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.agent import Agent
from tests.browser.people import Person

SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "amount": {"type": "integer"},
        "sure": {"type": "boolean"},
        "region": {"enum": ["eu", "us"]},
        "days": {"type": "array", "items": {"enum": ["mon", "tue"]}},
        "on": {"type": "string", "format": "date"},
    },
}
# All inputs and selections; a text area takes Enter as a new line.
FIELDS = "main form[method=post] :is(input:not([type=hidden]), select, textarea)"


@pytest.fixture
def agent(client_for: Callable[..., httpx.Client]) -> Agent:
    return Agent(client_for("agent"))


def enter_everywhere(page: Page, address: str) -> int:
    """Presses Enter in each field of each form; the page stays what it is. Returns in how many."""
    page.goto(address)
    page.evaluate("() => document.body.classList.add('same')")
    count = page.locator(FIELDS).count()
    for number in range(count):
        page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true })")
        field = page.locator(FIELDS).nth(number)
        harmless = field.evaluate("field => field.form.action.endsWith('/change')")
        if harmless or not field.is_visible():
            continue
        field.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
    # Whatever Enter had sent would be answered before this.
    assert page.evaluate("() => fetch(location.href).then(answer => answer.status)") == 200
    expect(page.locator("body.same")).to_have_count(1)
    return count


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("schema", [SCHEMA, {"type": "string"}, {"type": "number"}, {"type": "boolean"}])
def test_enter_in_an_answer_decides_nothing(
    signed_in: Callable[..., Page], agent: Agent, schema: dict[str, Any], scripts: bool
) -> None:
    watch_id = agent.post("Wire 50,000", arguments={"amount": 50000}, responseSchema=schema)
    page = signed_in(java_script_enabled=scripts)
    page.goto(f"/review/{watch_id}")
    for field in page.locator("[name^=answer]").all():
        field.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
    page.goto(f"/review/{watch_id}")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    assert agent.read(watch_id)["status"] == "pending"


@pytest.mark.parametrize("scripts", [True, False])
def test_enter_on_the_page_that_confirms_an_edit_decides_nothing(
    signed_in: Callable[..., Page], agent: Agent, scripts: bool
) -> None:
    watch_id = agent.post("Pay", arguments={"amount": 5}, responseSchema={"type": "string"})
    page = signed_in(java_script_enabled=scripts)
    page.goto(f"/review/{watch_id}")
    page.get_by_text("Edit the arguments").click()
    page.get_by_label("Arguments as JSON").fill('{"amount": 6}')
    page.get_by_role("button", name="Preview changes").click()
    answer = page.get_by_label("Response", exact=True)
    answer.fill("No!")
    answer.press("Enter")
    expect(page.get_by_role("button", name="Approve with these changes")).to_be_visible()
    assert agent.read(watch_id)["status"] == "pending"


@pytest.mark.parametrize("address", ["/keys", "/people", "/groups", "/endpoints", "/account"])
def test_enter_in_an_operators_form_does_nothing(
    signed_in: Callable[..., Page], person: Callable[..., Person], address: str
) -> None:
    page = signed_in(who=person("admin", namespaces=["*"]))
    assert enter_everywhere(page, address) > 1
