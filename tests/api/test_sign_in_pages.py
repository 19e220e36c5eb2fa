"""The pages by which people get in and out, as a browser sees them, and what others could make a browser do."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest

from app.http.key_cache import KeyCache
from cli.devstack import Stack
from domain.identity.access import Role
from services.identity.bootstrap import first_sign_in_link
from services.identity.login_throttle import EMAIL_LIMIT
from services.identity.people import PersonChange, create_person
from services.identity.tokens import hash_of
from services.kernel.unit_of_work import Database
from tests.api.alone import app_alone
from tests.api.conftest import Team, form_token, log_until_now
from tests.services.world import ADMIN, linked, one

PASSWORD = "correct horse battery"
SESSION = "sagahold_session"


class Person:
    """As an admin made them, with the browser that they use."""

    def __init__(self, stack: Stack, role: str, namespaces: list[str]) -> None:
        self.stack = stack
        self.admin = httpx.Client(
            base_url=stack.url, headers={"Authorization": f"Bearer {stack.credentials['admin_key']}"}
        )
        self.email = f"{uuid4().hex}@example.com"
        new = {"email": self.email, "name": "Ann Example", "role": role, "namespaces": namespaces}
        made = self.admin.post("/v1/people", json=new)
        assert made.status_code == 201, made.text
        self.id = made.json()["id"]
        self.browser = httpx.Client(base_url=stack.url)

    def link(self) -> str:
        url: str = self.admin.post(f"/v1/people/{self.id}/link").json()["url"]
        return url

    def enter(self, browser: httpx.Client | None = None) -> httpx.Response:
        """By a link, as a person would."""
        browser, link = browser or self.browser, self.link()
        return browser.post(link, data={"csrf_token": token(browser.get(link))})

    def set_password(self) -> None:
        done = self.post("/account/password", new=PASSWORD)
        assert done.status_code == 200, done.text

    def post(self, path: str, **form: str) -> httpx.Response:
        """With the token of a page that this person sees."""
        return self.browser.post(path, data={"csrf_token": token(self.browser.get("/account")), **form})

    def sign_in(self, password: str, browser: httpx.Client | None = None, **form: str) -> httpx.Response:
        browser = browser or httpx.Client(base_url=self.stack.url)
        data = {"csrf_token": token(browser.get("/sign-in")), "email": self.email, "password": password}
        return browser.post("/sign-in", data=data | form)


def token(page: httpx.Response) -> str:
    return form_token(page.text)


def is_in(browser: httpx.Client) -> bool:
    return browser.get("/account").status_code == 200


def execute(stack: Stack, statement: str, *values: Any) -> None:
    with contextlib.closing(psycopg2.connect(stack.database_url)) as connection, connection, connection.cursor() as cur:
        cur.execute(statement, values)


@pytest.fixture
def ann(stack: Stack, namespace: str) -> Iterator[Person]:
    person = Person(stack, "reviewer", [namespace])
    yield person
    person.browser.close()
    person.admin.close()


def test_a_link_is_opened_and_then_used_once(ann: Person) -> None:
    """Opening the link changes nothing, by GET or by HEAD and any number of times, as mail scanners do."""
    link = ann.link()
    for _ in range(3):
        scanner = httpx.Client()
        assert scanner.get(link).status_code == 200
        assert scanner.head(link).status_code == 200
        assert SESSION not in scanner.cookies
    page = ann.browser.get(link)
    entered = ann.browser.post(link, data={"csrf_token": token(page)})
    assert (entered.status_code, entered.headers["Location"]) == (303, "/inbox")
    assert is_in(ann.browser)
    again = httpx.Client()
    assert again.get(link).status_code == 404
    assert again.post(link, data={"csrf_token": token(page)}).status_code == 403
    again.cookies.update({"sagahold_pre": "known"})
    sent = again.post(link, data={"csrf_token": token(again.get(ann.stack.url + "/sign-in"))})
    assert sent.status_code == 404
    assert "ask for a new one" in sent.text


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(ann: Person) -> None:
    entered = ann.enter()
    cookies = [line for line in entered.headers.get_list("Set-Cookie") if line.startswith(SESSION)]
    (cookie,) = cookies
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    (before,) = httpx.get(ann.stack.url + "/sign-in").headers.get_list("Set-Cookie")
    assert "HttpOnly" in before
    assert "SameSite=Lax" in before


def test_by_https_cookies_are_secure_and_of_this_very_host(database: Database) -> None:
    safe = replace(database, public_url="https://hold.example.com")
    link = first_sign_in_link(safe)
    assert link is not None
    browser = app_alone(safe, KeyCache(lambda hash_: None)).test_client()
    url = "https://hold.example.com"
    path = link.removeprefix(url)
    page = browser.get(path, base_url=url)
    entered = browser.post(path, base_url=url, data={"csrf_token": form_token(page.text)})
    (cookie,) = [line for line in entered.headers.get_all("Set-Cookie") if SESSION in line]
    assert cookie.startswith(f"__Host-{SESSION}=")
    assert "Secure" in cookie
    assert browser.get("/account", base_url=url).status_code == 200


def test_a_session_that_was_planted_is_not_the_one_that_follows(ann: Person) -> None:
    """Fixation: what a browser brings along never becomes a session, and one that it had ends."""
    ann.browser.cookies.set(SESSION, "planted", domain="127.0.0.1")
    ann.enter()
    first = ann.browser.cookies[SESSION]
    assert first != "planted"
    ann.enter()
    assert ann.browser.cookies[SESSION] != first
    assert not is_in(httpx.Client(base_url=ann.stack.url, cookies={SESSION: first}))
    assert not is_in(httpx.Client(base_url=ann.stack.url, cookies={SESSION: "planted"}))


@pytest.mark.parametrize("path", ["/account/password", "/sign-out", "/account/sign-out-everywhere", "/account/absence"])
def test_a_forged_form_is_refused(ann: Person, stack: Stack, namespace: str, path: str) -> None:
    """Without a token, with another person's, or with that of the sign-in page."""
    ann.enter()
    bob = Person(stack, "reviewer", [namespace])
    bob.enter()
    foreign = token(bob.browser.get("/account"))
    before = token(httpx.get(stack.url + "/sign-in"))
    for forged in ({}, {"csrf_token": ""}, {"csrf_token": foreign}, {"csrf_token": before}, {"csrf_token": "ä"}):
        sent = ann.browser.post(path, data={"new": PASSWORD, **forged})
        assert sent.status_code == 403
        assert "form has expired" in sent.text
    assert ann.browser.post(path, headers={"X-CSRF-Token": foreign}).status_code == 403
    assert is_in(ann.browser)


def test_nobody_is_signed_in_by_another_sites_form(ann: Person) -> None:
    """Login CSRF: the form's token belongs to the browser that loaded it."""
    ann.enter()
    ann.set_password()
    attacker, victim = httpx.Client(base_url=ann.stack.url), httpx.Client(base_url=ann.stack.url)
    data = {"csrf_token": token(attacker.get("/sign-in")), "email": ann.email, "password": PASSWORD}
    assert victim.post("/sign-in", data=data).status_code == 403
    victim.get("/sign-in")
    assert victim.post("/sign-in", data=data).status_code == 403
    assert SESSION not in victim.cookies
    assert attacker.post("/sign-in", data=data).status_code == 303


def test_by_password(ann: Person) -> None:
    ann.enter()
    ann.set_password()
    wrong = ann.sign_in("a wrong one!!")
    assert (wrong.status_code, SESSION in wrong.headers.get("Set-Cookie", "")) == (401, False)
    assert "The e-mail or password is wrong" in wrong.text
    browser = httpx.Client(base_url=ann.stack.url)
    entered = ann.sign_in(PASSWORD, browser, next="/sagas?status=RUNNING")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/sagas?status=RUNNING")
    assert is_in(browser)
    assert PASSWORD not in log_until_now(ann.stack)


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\..\\b",
        "javascript:alert(1)",
        "evil",
        "/\t/evil.example",
        "/\r\nSet-Cookie: a=b",
        "",
    ],
)
def test_it_leads_to_no_other_site(ann: Person, wanted: str) -> None:
    ann.enter()
    already = ann.browser.get("/sign-in", params={"next": wanted})
    assert (already.status_code, already.headers["Location"]) == (303, "/inbox")
    page = httpx.get(ann.stack.url + "/sign-in", params={"next": wanted})
    assert 'name="next" value="/inbox"' in page.text
    ann.set_password()
    entered = ann.sign_in(PASSWORD, next=wanted)
    assert entered.headers["Location"] == "/inbox"


def test_after_too_many_guesses_one_waits(ann: Person) -> None:
    """The right password waits too; a link does not."""
    ann.enter()
    ann.set_password()
    for _ in range(EMAIL_LIMIT):
        assert ann.sign_in("a wrong one!!").status_code == 401
    late = ann.sign_in(PASSWORD)
    assert late.status_code == 429
    assert 0 < int(late.headers["Retry-After"]) <= 900
    assert "Too many attempts" in late.text
    execute(ann.stack, "DELETE FROM sign_in_failures")
    assert ann.sign_in(PASSWORD).status_code == 303


def test_disabled_and_out(ann: Person) -> None:
    """With the next request, wherever they are signed in; and no password, no link brings them back."""
    ann.enter()
    ann.set_password()
    link = ann.link()
    assert ann.admin.patch(f"/v1/people/{ann.id}", json={"disabled": True}).status_code == 200
    assert not is_in(ann.browser)
    assert ann.sign_in(PASSWORD).status_code == 401
    assert httpx.get(link).status_code == 404
    assert ann.admin.post(f"/v1/people/{ann.id}/link").status_code == 409


def test_a_role_that_is_taken_away_counts_at_once(stack: Stack, namespace: str) -> None:
    person = Person(stack, "admin", [namespace])
    person.enter()
    assert person.browser.get("/people").status_code == 200
    person.admin.patch(f"/v1/people/{person.id}", json={"role": "reviewer"})
    assert person.browser.get("/people").status_code == 403


def test_signed_out_everywhere(ann: Person) -> None:
    """One by one, all of one's own at once, or by an admin."""
    others = [httpx.Client(base_url=ann.stack.url, headers={"User-Agent": f"browser {n}"}) for n in range(2)]
    for browser in (ann.browser, *others):
        ann.enter(browser)
    page = ann.browser.get("/account")
    assert "browser 0" in page.text
    ends = re.findall(r'action="(/account/sessions/[0-9a-f]{64}/end)"', page.text)
    assert len(ends) == 2
    assert ann.post(ends[0]).status_code == 303
    assert [is_in(browser) for browser in others].count(True) == 1
    assert ann.post(ends[0]).status_code == 404
    left = ann.post("/account/sign-out-everywhere")
    assert left.headers["Location"] == "/sign-in"
    assert not any(is_in(browser) for browser in (ann.browser, *others))
    ann.enter()
    assert ann.admin.post(f"/v1/people/{ann.id}/sign-out").json() == {"sessions": 1}
    assert not is_in(ann.browser)


def test_nobody_ends_anothers_session(ann: Person, stack: Stack, namespace: str) -> None:
    ann.enter()
    ann.enter(other := httpx.Client(base_url=stack.url))
    bob = Person(stack, "reviewer", [namespace])
    bob.enter()
    (path,) = re.findall(r'action="(/account/sessions/[0-9a-f]{64}/end)"', ann.browser.get("/account").text)
    assert bob.post(path).status_code == 404
    assert is_in(other)


@pytest.mark.parametrize("column", ["seen_at", "expires_at"])
def test_a_session_ends_by_itself(ann: Person, column: str) -> None:
    """A session ends after half a day without activity, and after two weeks in any case."""
    ann.enter()
    mine = hash_of(ann.browser.cookies[SESSION])
    execute(ann.stack, f"UPDATE sessions SET {column} = now() - interval '12 h 1 s' WHERE hash = %s", mine)
    gone = ann.browser.get("/account")
    assert (gone.status_code, gone.headers["Location"]) == (303, "/sign-in?next=%2Faccount")


def test_a_session_is_no_key_and_a_key_is_no_session(ann: Person, team: Team) -> None:
    """So what another site makes a browser send reaches no part of the API."""
    ann.enter()
    assert ann.browser.get("/api/pause").status_code == 401
    assert ann.browser.post("/api/pause", json={"action": "x"}).status_code == 401
    assert team.admin.get("/account").status_code == 303
    as_key = {"Authorization": f"Bearer {ann.browser.cookies[SESSION]}"}
    assert httpx.get(ann.stack.url + "/api/pause", headers=as_key).status_code == 401


def test_secrets_in_addresses_stay_out_of_the_log(ann: Person) -> None:
    """The log keeps no secret, even for a slightly wrong address."""
    link = ann.link()
    secret = link.rpartition("/")[2]
    for url in (link, link + "/", link.replace("/sign-in/link/", "/r/"), link.replace("/sign-in/link/", "/r/") + "/x"):
        httpx.get(url)
    log = log_until_now(ann.stack)
    assert "/sign-in/link/…" in log
    assert "/r/…" in log
    assert secret not in log


def test_a_wrong_link_says_what_to_do(stack: Stack) -> None:
    for path, words in (("/sign-in/link/wrong", "ask for a new one"), ("/r/wrong", "Sign in to see it")):
        answer = httpx.get(stack.url + path)
        assert answer.status_code == 404
        assert words in answer.text


class Review:
    """A pause, and a person who received its link."""

    def __init__(self, team: Team, person: Person) -> None:
        self.pause = team.pause()
        self.path = f"/review/{self.pause['watchId']}"
        self.token = uuid4().hex
        statement = (
            "INSERT INTO sign_in_links (hash, user_id, pause_id, created_at, expires_at) "
            "VALUES (%s, %s, %s, now(), now() + interval '1 h')"
        )
        ids = person.id.removeprefix("usr_"), self.pause["watchId"].removeprefix("wch_")
        execute(person.stack, statement, hash_of(self.token), *ids)


@pytest.fixture
def told(team: Team, stack: Stack) -> Person:
    """Not signed in."""
    return Person(stack, "reviewer", [team.namespace])


def test_a_reviews_link_opens_that_review_and_nothing_else(told: Person, team: Team) -> None:
    """Its form decides, several are open at once; every other page asks to sign in."""
    one, two = Review(team, told), Review(team, told)
    for review in (one, two):
        opened = told.browser.get(f"/r/{review.token}")
        assert (opened.status_code, opened.headers["Location"]) == (303, review.path)
    for review in (one, two):
        assert told.browser.get(review.path).status_code == 200
    assert SESSION not in told.browser.cookies
    for path in ("/inbox", "/account", "/sagas", f"/review/{team.pause()['watchId']}"):
        assert told.browser.get(path).status_code == 303
    page = told.browser.get(one.path)
    foreign = token(told.browser.get(two.path))
    assert told.browser.post(one.path + "/approve", data={"csrf_token": foreign}).status_code == 403
    assert told.browser.post("/sign-out", data={"csrf_token": token(page)}).status_code == 303
    form = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page.text))
    decided = told.browser.post(one.path + "/approve", data=form)
    assert decided.status_code in (200, 303), decided.text
    after = team.reviewer.get(f"/api/pause/{one.pause['watchId']}").json()
    assert (after["status"], after["decision"]["decidedBy"]) == ("approved", told.id)
    assert told.browser.get(one.path).status_code == 200


def test_who_signs_out_leaves_no_reviews_link_behind(told: Person, team: Team) -> None:
    """The next user of this browser has no access."""
    review = Review(team, told)
    for way in ("/sign-out", "/account/sign-out-everywhere"):
        told.browser.get(f"/r/{review.token}")
        told.enter()
        page = told.browser.get("/account")
        assert told.browser.post(way, data={"csrf_token": token(page)}).status_code == 303
        assert told.browser.get(review.path).status_code == 303


def test_a_scanner_that_follows_a_reviews_link_decides_nothing(told: Person, team: Team) -> None:
    """With cookies, following every redirect, by GET and HEAD, as often as it likes; then the person still gets in."""
    review = Review(team, told)
    scanner = httpx.Client(base_url=told.stack.url, follow_redirects=True)
    for method in ("GET", "HEAD", "GET"):
        answer = scanner.request(method, f"/r/{review.token}")
        assert answer.status_code == 200
    for link in re.findall(r'href="(/[^"]*)"', scanner.get(review.path).text):
        scanner.get(link)
    pause = team.reviewer.get(f"/api/pause/{review.pause['watchId']}").json()
    assert (pause["status"], pause["votes"], pause["claim"]) == ("pending", [], None)
    assert told.browser.get(f"/r/{review.token}").status_code == 303


def test_a_reviews_link_that_has_ended(told: Person, team: Team) -> None:
    review = Review(team, told)
    told.browser.get(f"/r/{review.token}")
    execute(told.stack, "UPDATE sign_in_links SET expires_at = now() WHERE hash = %s", hash_of(review.token))
    assert told.browser.get(review.path).status_code == 303
    ended = told.browser.get(f"/r/{review.token}")
    assert ended.status_code == 410
    assert "Sign in to see it" in ended.text
    told.enter()
    assert told.browser.get(f"/r/{review.token}").headers["Location"] == review.path


def test_the_link_of_somebody_else_does_not_change_who_one_is(told: Person, team: Team, stack: Stack) -> None:
    """A forwarded message: whoever is signed in decides as themselves."""
    review = Review(team, told)
    bob = Person(stack, "reviewer", [team.namespace])
    bob.enter()
    assert bob.browser.get(f"/r/{review.token}").headers["Location"] == review.path
    page = bob.browser.get(review.path)
    form = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page.text))
    bob.browser.post(review.path + "/approve", data=form)
    decision = team.reviewer.get(f"/api/pause/{review.pause['watchId']}").json()["decision"]
    assert decision["decidedBy"] == bob.id


@pytest.mark.parametrize(("proxies", "address"), [(0, "10.0.0.9"), (1, "203.0.113.7"), (2, "198.51.100.1")])
def test_behind_proxies_guesses_count_for_who_made_them(database: Database, proxies: int, address: str) -> None:
    """The limit counts each address behind the proxies. Entries further left in the header may be forged."""
    browser = app_alone(database, KeyCache(lambda hash_: None), proxies=proxies).test_client()
    own = form_token(browser.get("/sign-in").text)
    browser.post(
        "/sign-in",
        data={"email": "ann@example.com", "password": "a wrong one", "csrf_token": own},
        headers={"X-Forwarded-For": "192.0.2.66, 198.51.100.1, 203.0.113.7"},
        environ_base={"REMOTE_ADDR": "10.0.0.9"},
    )
    assert one(database, "SELECT subject FROM sign_in_failures WHERE subject LIKE 'address:%'") == f"address:{address}"
    assert one(linked(database), "SELECT entry -> 'details' ->> 'address' FROM audit_events") == address


def test_anonymous_requests_sign_nobody_in(database: Database) -> None:
    """They are for the seeds' bare curl lines; pages know people only."""
    browser = app_alone(database, KeyCache(lambda hash_: None), "admin").test_client()
    local = {"base_url": "http://127.0.0.1:8000", "environ_base": {"REMOTE_ADDR": "127.0.0.1"}}
    assert browser.get("/api/pause", **local).status_code == 200
    for path in ("/inbox", "/people", "/account"):
        assert browser.get(path, **local).status_code == 303


def test_an_error_is_shown_as_a_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """And tells nothing of the inside."""
    new = PersonChange(email="ann@example.com", name="Ann", role=Role.ADMIN, namespaces=("*",))
    create_person(database, ADMIN, new)
    link = first_sign_in_link(database)
    assert link is not None
    browser = app_alone(database, KeyCache(lambda hash_: None)).test_client()
    path = link.removeprefix(database.public_url)
    browser.post(path, data={"csrf_token": form_token(browser.get(path).text)})
    assert browser.get("/people/usr_" + "0" * 32).status_code == 404

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret inside")

    monkeypatch.setattr("app.dashboard.admin.people.list_people", broken)
    answer = browser.get("/people")
    assert (answer.status_code, answer.content_type) == (500, "text/html; charset=utf-8")
    assert "secret inside" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
