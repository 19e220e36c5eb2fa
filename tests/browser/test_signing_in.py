"""Getting in, and what must not let anybody in: a link twice, a planted session, a form from elsewhere."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.dashboard.framework.cookies import SESSION
from cli.devstack import Stack
from services.identity.sign_in_links import make_link
from services.kernel.unit_of_work import Database
from tests.browser.people import Person
from tests.browser.troubles import Troubles


@pytest.fixture
def link(stack_database: Database) -> Callable[..., str]:
    """`link(person)`: the path of a new link that signs in."""

    def make(person: Person, lasts: timedelta = timedelta(minutes=5)) -> str:
        with stack_database.transaction() as uow:
            return f"/sign-in/link/{make_link(uow, person.user_id, uow.now + lasts)}"

    return make


@pytest.fixture
def elsewhere(stack: Stack) -> Iterator[Callable[[str, dict[str, str]], str]]:
    """`elsewhere(path, fields)`: the address of another site's page, whose button posts that to ours."""
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(bodies.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def make(path: str, fields: dict[str, str]) -> str:
        inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
        bodies["/"] = f'<form method="post" action="{stack.url}{path}">{inputs}<button>Win</button></form>'.encode()
        # Another site, for cookies: `localhost` and `127.0.0.1` are.
        return f"http://localhost:{server.server_address[1]}/"

    yield make
    server.shutdown()
    server.server_close()


def session_of(context: BrowserContext) -> str | None:
    return next((each["value"] for each in context.cookies() if each["name"] == SESSION), None)


def test_a_link_signs_in_by_a_press_and_once(
    visit: Callable[..., BrowserContext], person: Callable[..., Person], link: Callable[..., str], troubles: Troubles
) -> None:
    """Opening it, as a mail scanner does, uses nothing up."""
    anne = person(name="Anne Archer")
    path = link(anne)
    for _ in range(2):
        opened = visit()
        scanner = opened.new_page()
        scanner.goto(path)
        expect(scanner.get_by_role("button", name="Sign in")).to_be_visible()
        assert session_of(opened) is None
    page = visit().new_page()
    page.goto(path)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/inbox")
    page.goto("/account")
    expect(page.get_by_role("heading", level=1)).to_have_text("Anne Archer")
    troubles.expect("status of 404")
    late = visit().new_page()
    late.goto(path)
    expect(late.get_by_role("heading", level=1)).to_be_visible()
    expect(late.get_by_role("button", name="Sign in")).to_have_count(0)


def test_an_expired_link_lets_nobody_in(
    visit: Callable[..., BrowserContext], person: Callable[..., Person], link: Callable[..., str], troubles: Troubles
) -> None:
    troubles.expect("status of 404")
    page = visit().new_page()
    page.goto(link(person(), timedelta(seconds=-1)))
    expect(page.get_by_role("button", name="Sign in")).to_have_count(0)
    expect(page.get_by_text("expired")).to_be_visible()


def test_without_a_session_every_page_leads_to_the_sign_in_and_back(
    visit: Callable[..., BrowserContext], person: Callable[..., Person], stack: Stack
) -> None:
    context = visit()
    page = context.new_page()
    page.goto("/account")
    page.wait_for_url("**/sign-in?next=%2Faccount")
    context.add_cookies([person(name="Anne Archer").cookie(stack.url)])
    page.reload()
    page.wait_for_url("**/account")


def test_signing_in_leads_nowhere_else(signed_in: Callable[..., Page], stack: Stack) -> None:
    page = signed_in()
    for elsewhere in ("//example.com/", "https://example.com/", "/\\example.com/", "/\t/example.com"):
        page.goto(f"/sign-in?{httpx.QueryParams(next=elsewhere)}")
        assert page.url.startswith(f"{stack.url}/"), elsewhere


def test_a_session_that_somebody_planted_is_not_the_one_that_is_signed_in(
    visit: Callable[..., BrowserContext], person: Callable[..., Person], link: Callable[..., str], stack: Stack
) -> None:
    """Neither a made-up token nor the attacker's own session becomes the victim's; the attacker's ends."""
    attacker, victim = person(name="Mallory"), person(name="Anne Archer")
    for planted in ("x" * 43, attacker.token):
        context = visit()
        context.add_cookies([{**victim.cookie(stack.url), "value": planted}])
        page = context.new_page()
        page.goto(link(victim))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/inbox")
        assert session_of(context) not in (None, planted)
        seen = httpx.get(f"{stack.url}/account", cookies={SESSION: planted}, follow_redirects=False)
        assert seen.status_code == 303
        assert "Anne" not in seen.text


def test_a_form_from_elsewhere_does_nothing(
    signed_in: Callable[..., Page],
    person: Callable[..., Person],
    elsewhere: Callable[[str, dict[str, str]], str],
    stack: Stack,
    troubles: Troubles,
) -> None:
    """The cookie does not come along with it, only with the page that it leads to; and the form has no token."""
    troubles.expect("request to elsewhere: http://localhost")
    anne = person()
    page = signed_in(who=anne)
    page.goto(elsewhere("/sign-out", {"csrf_token": "0" * 64}))
    page.get_by_role("button", name="Win").click()
    page.wait_for_url("**/inbox")
    page.goto("/account")
    expect(page.get_by_role("heading", level=1)).to_have_text(anne.name)
    with httpx.Client(base_url=stack.url, cookies={SESSION: anne.token}) as forged:
        for token in ({}, {"csrf_token": ""}, {"csrf_token": "0" * 64}):
            assert forged.post("/sign-out", data=token).status_code == 403
        assert forged.get("/account").status_code == 200


def test_no_cookie_is_for_scripts(signed_in: Callable[..., Page]) -> None:
    page = signed_in()
    page.goto("/account")
    assert page.evaluate("document.cookie") == ""


def test_by_password_and_out_everywhere(
    signed_in: Callable[..., Page],
    visit: Callable[..., BrowserContext],
    person: Callable[..., Person],
    troubles: Troubles,
) -> None:
    """A wrong password says no more than that; signing out everywhere ends the other browsers too."""
    troubles.expect("status of 4(01|03|22)")
    anne = person(name="Anne Archer")
    first = signed_in(who=anne)
    first.goto("/account")
    first.get_by_label("New password").fill("correct horse battery staple")
    first.get_by_role("button", name="Set password").click()
    expect(first.get_by_label("Current password")).to_be_visible()
    second = visit(java_script_enabled=False).new_page()
    second.goto("/account")
    for password in ("wrong horse battery staple", "correct horse battery staple"):
        second.get_by_label("E-mail").fill(anne.email)
        second.get_by_label("Password").fill(password)
        second.get_by_role("button", name="Sign in").click()
        if password.startswith("wrong"):
            expect(second.get_by_role("alert")).to_be_visible()
    second.wait_for_url("**/account")
    second.get_by_role("button", name="Sign out everywhere").click()
    second.wait_for_url("**/sign-in")
    for page in (first, second):
        page.goto("/inbox")
        page.wait_for_url("**/sign-in?**")
