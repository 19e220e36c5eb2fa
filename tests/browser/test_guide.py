"""The guide at /docs/guide in a browser: under its strict policy, with its search, from this server alone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from app.guide.page import SITE
from docsite.build import build
from tests.browser.axe import violations
from tests.browser.conftest import needed
from tests.browser.install import no_axe
from tests.browser.layout import PHONE, sideways

PAGES = ("", "security.html", "reference/api/pauses.html", "reference/python.html")


@pytest.fixture(scope="module", autouse=True)
def site() -> None:
    """The guide of these sources, where the server looks for it."""
    build(SITE)


def test_the_search_finds_a_page(visit: Callable[..., BrowserContext]) -> None:
    page = visit().new_page()
    page.goto("/docs/guide")
    expect(page.locator("h1")).to_contain_text("Sagahold's guide")
    page.locator(".md-search__button").click()
    page.locator("input:focus").fill("threats and answers")
    page.get_by_role("option", name="Threats and answers").first.click()
    expect(page.locator("#threats-and-answers")).to_be_in_viewport()


def test_no_barrier_and_no_sideways_scroll(visit: Callable[..., BrowserContext]) -> None:
    needed(no_axe())
    found = {}
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme).new_page()
        # They have every kind of part. On the long ones the engine takes ten seconds.
        for path in PAGES[:2]:
            page.goto(f"/docs/guide/{path}")
            found[scheme, path] = violations(page)
    phone = visit(**PHONE).new_page()
    for path in PAGES:
        phone.goto(f"/docs/guide/{path}")
        found["phone", path] = sideways(phone)
    assert found == {key: [] for key in found}
