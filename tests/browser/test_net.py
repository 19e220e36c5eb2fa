"""The net that all browser tests are caught in has no hole: each kind of trouble is seen."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.axe import violations
from tests.browser.conftest import needed
from tests.browser.install import no_axe
from tests.browser.layout import PHONE, sideways
from tests.browser.troubles import Troubles

INLINE = "document.body.append(Object.assign(document.createElement('script'), {textContent: 'globalThis.ran = 1'}))"
ELSEWHERE = "document.body.append(Object.assign(document.createElement('img'), {src: 'http://localhost:9/x.png'}))"


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        (INLINE, "policy violated: script-src-elem inline"),
        (ELSEWHERE, "policy violated: img-src http://localhost:9/x.png"),
        ("setTimeout(() => { throw new Error('a slip') })", "script: a slip"),
        ("setTimeout(() => alert('ran'))", "dialog: ran"),
        ("fetch('/nowhere').catch(() => 0)", "console: Failed to load resource: .* 404"),
    ],
)
def test_trouble_is_seen(visit: Callable[..., BrowserContext], troubles: Troubles, deed: str, told: str) -> None:
    page = visit().new_page()
    page.goto("/sign-in")
    page.evaluate(f"() => {{ {deed} }}")
    troubles.wait_for(page, told)
    assert page.evaluate("globalThis.ran") is None
    troubles.expect(".")


def test_the_engine_finds_what_people_cannot_use(visit: Callable[..., BrowserContext], troubles: Troubles) -> None:
    needed(no_axe())
    page = visit().new_page()
    page.goto("/sign-in")
    assert violations(page) == []
    page.evaluate("document.querySelector('label').remove()")
    (found,) = violations(page)
    assert found.startswith("label (critical)")


def test_a_page_that_is_too_wide_is_noticed(visit: Callable[..., BrowserContext]) -> None:
    page = visit(**PHONE).new_page()
    page.goto("/sign-in")
    assert sideways(page) == []
    page.evaluate("document.querySelector('h1').style.width = '361px'")
    assert sideways(page)[1].startswith("<h1")
