"""The pictures in the README: `SCREENSHOTS=docs/images .venv/bin/python -m pytest tests/browser/test_pictures.py`."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from cli.devstack import Stack
from tests.acceptance.example import Example
from tests.browser.agent import Agent, client_of
from tests.browser.layout import PHONE
from tests.browser.people import Person

NAMESPACE = "shop"


def test_pictures(
    signed_in: Callable[..., Page],
    person: Callable[..., Person],
    stack: Stack,
    tmp_path: Path,
    picture: Callable[[Page, str], None],
) -> None:
    """Written only where that is asked for; the pages are looked at in any case."""
    with client_of(stack, NAMESPACE, "agent", "Shop agent") as client:
        agent = Agent(client)
        agent.post("Delete the backups of 2019", context={"bucket": "backups-eu", "size": "2.4 TB"}, tags=["storage"])
        agent.post(
            "Move the shop to the new payment provider",
            arguments={"provider": "acme-pay", "share_of_traffic": 0.1},
            review={"approvals": 2},
            priority=8,
            expiresIn=3600,
        )
    refund = Example("refund", tmp_path, NAMESPACE, lambda role: client_of(stack, NAMESPACE, role, f"Shop {role}"))
    held = refund.held(refund.start(customer="ada@example.com", amount=250))
    anne = person("operator", name="Anne Archer", namespaces=[NAMESPACE])
    desk = signed_in(who=anne)
    desk.goto("/inbox")
    expect(desk.locator("#reviews > li")).to_have_count(3)
    desk.set_viewport_size({"width": 1200, "height": 600})
    picture(desk, "inbox")
    desk.set_viewport_size({"width": 1200, "height": 860})
    desk.goto(f"/review/{held['watch_id']}")
    expect(desk.locator("#reject")).to_contain_text("Tell the customer")
    picture(desk, "review")
    phone = signed_in(who=anne, color_scheme="dark", **PHONE)
    phone.goto(f"/review/{held['watch_id']}")
    phone.locator("#approve").evaluate("each => each.scrollIntoView()")
    picture(phone, "review-phone")
