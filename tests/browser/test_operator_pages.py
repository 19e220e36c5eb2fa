"""Operators in a real browser: a saga that updates itself, a form that stays while they type, and charts.

Each page is accessible and fits a phone.
"""

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.sagas import Sagas, deploy, manifests, span

PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture
def sagas(client_for: Callable[..., httpx.Client], namespace: str) -> Sagas:
    admin = client_for("admin")
    for document in manifests(namespace):
        deploy(admin, document)
    return Sagas(client_for("agent"), client_for("reviewer"))


def test_an_open_page_follows_its_saga(
    signed_in: Callable[..., Page], sagas: Sagas, client_for: Callable[..., httpx.Client]
) -> None:
    trace_id, held = sagas.held()
    page = signed_in("operator")
    page.goto(f"/sagas/{trace_id}")
    expect(page.get_by_role("link", name="Review this step")).to_be_visible()
    page.evaluate("globalThis.loaded = 'once'")
    client_for("reviewer").post(f"/v1/sagas/{trace_id}/steps/{held}/approve", json={}).raise_for_status()
    expect(page.locator("#saga header .pill")).to_have_text("completed")
    assert page.evaluate("globalThis.loaded") == "once"


def test_what_one_types_stays_while_the_saga_goes_on(
    signed_in: Callable[..., Page], sagas: Sagas, client_for: Callable[..., httpx.Client]
) -> None:
    """Two operators work on one step: the slower one gets a notice and keeps the input."""
    trace_id = sagas.start("crashes")
    stuck = span(sagas.when(trace_id, "RUNNING", needs_operator=True), "two")
    page = signed_in("operator")
    page.goto(f"/sagas/{trace_id}")
    page.get_by_label("How do you know?").fill("I asked the bank")
    request = {"outcome": "not_done", "evidence": "the ledger is empty"}
    client_for("operator").post(f"/v1/sagas/{trace_id}/steps/{stuck}/resolve", json=request).raise_for_status()
    expect(page.get_by_text("This saga has changed since you opened the page")).to_be_visible()
    expect(page.get_by_label("How do you know?")).to_have_value("I asked the bank")


def test_it_is_settled_without_scripts(signed_in: Callable[..., Page], sagas: Sagas) -> None:
    trace_id = sagas.start("crashes")
    sagas.when(trace_id, "RUNNING", needs_operator=True)
    page = signed_in("operator", java_script_enabled=False)
    page.goto("/sagas")
    page.locator(f'a[href="/sagas/{trace_id}"]').click()
    page.get_by_label("It was done.").check()
    page.get_by_label("How do you know?").fill("the ledger has it")
    page.get_by_role("button", name="Save outcome").click()
    expect(page.get_by_role("status").first).to_have_text("The outcome is recorded.")
    sagas.when(trace_id, "COMPLETED")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_pictures_with_their_numbers(
    scheme: str, signed_in: Callable[..., Page], client_for: Callable[..., httpx.Client]
) -> None:
    agent, reviewer = client_for("agent"), client_for("reviewer")
    made = [agent.post("/api/pause", json={"action": "x"}).json()["watchId"] for _ in range(3)]
    reviewer.post(f"/api/pause/{made[0]}/approve", json={}).raise_for_status()
    page = signed_in("operator", color_scheme=scheme)
    page.goto("/charts")
    assert page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)") == [True] * 3
    page.locator("summary", has_text="As a table").first.click()
    expect(page.get_by_role("cell", name="2", exact=True).first).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize(("look", "scheme"), [({}, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_everybody_can_read_them(
    look: dict[str, object], scheme: str, signed_in: Callable[..., Page], sagas: Sagas
) -> None:
    lost = sagas.start("undo-crashes")
    sagas.when(lost, "COMPENSATING", needs_operator=True)
    # Only now: the tool server that crashed is its own too.
    failed = sagas.start("undo-fails")
    sagas.when(failed, "FAILED", needs_operator=True)
    page = signed_in("admin", color_scheme=scheme, **look)
    for path in (
        f"/sagas/{lost}",
        f"/sagas/{failed}",
        "/sagas",
        "/webhooks",
        "/notifications",
        "/charts",
        "/audit",
        "/audit/verify",
    ):
        page.goto(path)
        page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        assert (path, violations(page)) == (path, [])
        assert (path, page.evaluate(TOO_WIDE)) == (path, False)
