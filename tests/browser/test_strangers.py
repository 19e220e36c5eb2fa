"""Who may see what: another namespace's pages are not there, a link opens its review, an ended one nothing."""

import re
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.dashboard.framework.cookies import SESSION
from app.dashboard.framework.csrf import csrf_token
from cli.devstack import Stack
from services.identity.sign_in_links import make_link
from services.kernel.unit_of_work import Database
from tests.browser.agent import Agent
from tests.browser.people import Person
from tests.browser.routes import rules
from tests.browser.troubles import Troubles
from tests.sagas import Sagas, deploy, manifests
from tests.services.world import uuid_of


@pytest.fixture
def link(stack_database: Database) -> Callable[..., str]:
    """`link(person, watch_id)`: the path of that person's link to the review."""

    def make(person: Person, watch_id: str, lasts: timedelta = timedelta(minutes=5)) -> str:
        with stack_database.transaction() as uow:
            return f"/r/{make_link(uow, person.user_id, uow.now + lasts, uuid_of(watch_id))}"

    return make


def test_another_namespace_s_pages_are_not_there(
    signed_in: Callable[..., Page],
    person: Callable[..., Person],
    client_for: Callable[..., httpx.Client],
    namespace: str,
    stack: Stack,
    troubles: Troubles,
) -> None:
    """404, not 403, to look at and to press; and the lists are empty."""
    troubles.expect("status of 404")
    watch_id = Agent(client_for("agent")).post("Secret plan")
    admin = client_for("admin")
    for manifest in manifests(namespace):
        deploy(admin, manifest)
    trace, _ = Sagas(client_for("agent"), admin).held()
    stranger = person("admin", namespaces=[f"{namespace}-other"])
    page = signed_in(who=stranger)
    for path in (f"/review/{watch_id}", f"/sagas/{trace}", f"/review/{watch_id}/progress"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404, path
        assert "Secret plan" not in page.content()
    for path in ("/inbox", "/sagas"):
        page.goto(path)
        expect(page.locator("main")).not_to_contain_text("Secret plan")
        expect(page.locator("main")).not_to_contain_text(trace)
    body = {"csrf_token": csrf_token(stranger.token), "revision": "1"}
    with httpx.Client(base_url=stack.url, cookies={SESSION: stranger.token}) as forged:
        for verb in ("approve", "reject", "retry", "change", "claim", "unclaim"):
            assert forged.post(f"/review/{watch_id}/{verb}", data=body).status_code == 404, verb
    assert client_for("reviewer").get(f"/api/pause/{watch_id}").json()["status"] == "pending"


def test_a_decision_needs_the_form_s_token(
    person: Callable[..., Person], client_for: Callable[..., httpx.Client], stack: Stack
) -> None:
    """A form needs the token of its own session."""
    watch_id = Agent(client_for("agent")).post("Deploy")
    anne, other = person(), person()
    with httpx.Client(base_url=stack.url, cookies={SESSION: anne.token}) as forged:
        for token in (None, "", "0" * 64, csrf_token(other.token)):
            body = {"revision": "1"} | ({} if token is None else {"csrf_token": token})
            for verb in ("approve", "reject", "claim"):
                assert forged.post(f"/review/{watch_id}/{verb}", data=body).status_code == 403
        assert client_for("reviewer").get(f"/api/pause/{watch_id}").json()["status"] == "pending"
        good = {"revision": "1", "csrf_token": csrf_token(anne.token)}
        assert forged.post(f"/review/{watch_id}/approve", data=good).status_code == 303


def test_no_form_of_any_page_is_taken_without_its_token(person: Callable[..., Person], stack: Stack) -> None:
    """Also not from an admin of everything."""
    admin = person("admin", namespaces=["*"])
    forms = [str(rule) for rule in rules() if "POST" in (rule.methods or ())]
    assert len(forms) > 20
    with httpx.Client(base_url=stack.url, cookies={SESSION: admin.token}) as forged:
        for form in forms:
            address = re.sub(r"<[^>]*>", "0" * 32, form)
            assert forged.post(address, data={"csrf_token": "0" * 64}).status_code == 403, form


def test_a_review_s_link_opens_that_review_alone(
    visit: Callable[..., BrowserContext],
    person: Callable[..., Person],
    link: Callable[..., str],
    client_for: Callable[..., httpx.Client],
) -> None:
    """To look, and to decide by a press; opened any number of times, as mail scanners do, it decides nothing."""
    agent = Agent(client_for("agent"))
    watch_id, another = agent.post("Deploy"), agent.post("Another")
    path = link(person(name="Anne Archer"), watch_id)
    for _ in range(2):
        scanner = visit().new_page()
        scanner.goto(path)
        expect(scanner.get_by_role("heading", level=1)).to_have_text("Deploy")
    assert agent.read(watch_id)["status"] == "pending"
    page = visit().new_page()
    page.goto(path)
    for closed in ("/inbox", "/account", f"/review/{another}"):
        page.goto(closed)
        page.wait_for_url("**/sign-in?**")
    page.goto(path)
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator("#progress #outcome .pill")).to_have_text("approved")
    assert agent.read(watch_id)["decision"]["decidedBy"].startswith("usr_")


def test_an_expired_link_opens_nothing(
    visit: Callable[..., BrowserContext],
    person: Callable[..., Person],
    link: Callable[..., str],
    client_for: Callable[..., httpx.Client],
    troubles: Troubles,
) -> None:
    troubles.expect("status of 4(04|10)")
    watch_id = Agent(client_for("agent")).post("Secret plan")
    page = visit().new_page()
    for path in (link(person(), watch_id, timedelta(seconds=-1)), "/r/nonsense"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_have_text("This link no longer works")
        assert "Secret plan" not in page.content()
    page.goto(f"/review/{watch_id}")
    page.wait_for_url("**/sign-in?**")
