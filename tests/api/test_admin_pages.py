"""The admin's pages: plain forms over the same use cases as the API, and secrets that are shown once."""

import html
import re
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest

from app.dashboard.framework.cookies import SESSION
from cli.devstack import Stack
from services.kernel.unit_of_work import Database
from tests.api.conftest import form_token, refused
from tests.browser.people import add_person

NAME = "<img src=x onerror=alert(1)> & Söhne"


class Admin:
    """A signed-in admin of some namespaces."""

    def __init__(self, browser: httpx.Client) -> None:
        self.browser = browser

    def post(self, path: str, **form: str) -> httpx.Response:
        page = self.browser.get("/account").text
        return self.browser.post(path, data={"csrf_token": form_token(page), **form})


def shown(page: httpx.Response) -> str:
    """The one thing that is shown once."""
    assert page.status_code == 200, page.text
    (found,) = re.findall(r"<pre>(.*)</pre>", page.text)
    return html.unescape(found)


@pytest.fixture
def admin(stack: Stack, stack_database: Database) -> Iterator[Callable[..., Admin]]:
    opened: list[httpx.Client] = []

    def make(*namespaces: str) -> Admin:
        person = add_person(stack_database, "admin", namespaces=namespaces)
        opened.append(httpx.Client(base_url=stack.url, cookies={SESSION: person.token}))
        return Admin(opened[-1])

    yield make
    for client in opened:
        client.close()


def test_a_person_from_first_to_last(admin: Callable[..., Admin], namespace: str) -> None:
    """Text from other people is never markup on any page."""
    boss, email = admin(namespace), f"{uuid4().hex}@example.com"
    form = {"email": email, "name": NAME, "role": "reviewer", "namespaces": namespace}
    added = boss.post("/people", **form)
    link = shown(added)
    assert "<img" not in added.text
    assert httpx.get(link).status_code == 200
    assert boss.post("/people", **form).status_code == 409
    listed = boss.browser.get("/people").text
    assert html.escape(NAME, quote=False).split(" & ")[0] in listed
    (path,) = re.findall(rf'href="(/people/usr_[0-9a-f]{{32}})">{re.escape("&lt;img")}', listed)
    changed = boss.post(path, **{**form, "name": "Ann", "role": "operator"})
    assert changed.headers["Location"] == path
    assert re.search(r"<option selected>operator", boss.browser.get(path).text)
    assert shown(boss.post(f"{path}/link")) != link
    assert boss.post(f"{path}/sign-out").status_code == 200
    assert boss.post(f"{path}/disable").status_code == 303
    assert httpx.get(link).status_code == 404
    assert "disabled" in boss.browser.get(path).text
    assert boss.post(f"{path}/enable").status_code == 303


def test_a_client_that_tries_addresses_has_to_wait(
    admin: Callable[..., Admin], namespace: str, elsewhere: str, stranger: httpx.Client
) -> None:
    """On the page as by the API, and the pages count what programs did."""
    boss, narrow, emails = admin("*"), admin(elsewhere), [f"{uuid4().hex}@example.com" for _ in range(2)]
    form = {"name": "Ann", "role": "reviewer"}
    assert boss.post("/people", email=emails[0], namespaces=namespace, **form).status_code == 200
    new = form | {"namespaces": [elsewhere]}
    for _ in range(4):
        refused(stranger.post("/v1/people", json=new | {"email": emails[0]}), 409, "PERSON_NOT_YOURS")
    assert narrow.post("/people", email=emails[0], namespaces=elsewhere, **form).status_code == 409
    answers = [stranger.post("/v1/people", json=new | {"email": email}) for email in emails]
    for answer in answers:
        refused(answer, 429, "TOO_MANY_ADDRESSES")
    answers.append(narrow.post("/people", email=emails[1], namespaces=elsewhere, **form))
    assert answers[-1].status_code == 429
    assert all(0 < int(answer.headers["Retry-After"]) <= 3600 for answer in answers)


def test_a_form_that_cannot_be_used_says_which_field(admin: Callable[..., Admin], namespace: str) -> None:
    boss = admin(namespace)
    wrong = boss.post("/people", email="nobody", name="", role="reviewer", namespaces=namespace)
    assert wrong.status_code == 422
    assert "<b>email</b>" in wrong.text
    assert "<b>name</b>" in wrong.text
    for form in ({"role": "king"}, {"role": "agent", "email": "a@example.com", "name": "x", "namespaces": namespace}):
        assert boss.post("/people", **form).status_code == 422
    assert boss.post("/keys", name="x", role="agent", namespaces="No Such").status_code == 422
    assert boss.post("/keys", name="", role="agent", namespaces=namespace).status_code == 422
    assert boss.post("/keys", name="x", role="agent", namespaces=namespace, expires="soon").status_code == 422
    assert boss.post("/endpoints", url="http://10.0.0.1/", namespaces=namespace).status_code == 422
    assert boss.post("/endpoints", url="https://example.com/", namespaces=namespace, event_types="x").status_code == 422


def test_nobody_gives_what_they_have_not(admin: Callable[..., Admin], namespace: str) -> None:
    """And what belongs to another namespace is not there."""
    boss, other = admin(namespace), admin("elsewhere")
    for namespaces in ("*", f"{namespace}, elsewhere"):
        form = {"email": f"{uuid4().hex}@example.com", "name": "x", "role": "admin", "namespaces": namespaces}
        assert boss.post("/people", **form).status_code == 403
        assert boss.post("/keys", name="x", role="agent", namespaces=namespaces).status_code == 403
        assert boss.post("/endpoints", url="https://example.com/", namespaces=namespaces).status_code == 403
    assert boss.post("/groups", name="mine").status_code == 403
    boss.post("/keys", name="ours", role="agent", namespaces=namespace)
    (revoke,) = re.findall(r'action="(/keys/key_[0-9a-f]{32}/revoke)"', boss.browser.get("/keys").text)
    assert other.post(revoke).status_code == 404


def test_a_key_is_shown_once(admin: Callable[..., Admin], namespace: str, stack: Stack) -> None:
    boss = admin(namespace)
    key = shown(boss.post("/keys", name="bot", role="agent", namespaces=namespace, expires="2999-01-01"))
    listed = boss.browser.get("/keys").text
    assert key not in listed
    assert key[:11] in listed
    assert httpx.get(stack.url + "/api/pause", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert "Claude Code" not in listed
    body, headers = {"action": "x", "metadata": {"door": "claude-hook"}}, {"Authorization": f"Bearer {key}"}
    httpx.post(stack.url + "/api/pause", json=body, headers=headers).raise_for_status()
    assert '<span class="muted small">Claude Code <time' in boss.browser.get("/keys").text
    (revoke,) = re.findall(r'action="(/keys/key_[0-9a-f]{32}/revoke)"', listed)
    assert boss.post(revoke).status_code == 303
    assert "revoked" in boss.browser.get("/keys").text


def test_a_rotated_key_is_shown_once(
    admin: Callable[..., Admin], namespace: str, stack: Stack, stack_database: Database
) -> None:
    """The one before works for a day more. Only an admin of its namespaces rotates it, and no other site's form."""

    def status(key: str) -> int:
        return httpx.get(stack.url + "/api/pause", headers={"Authorization": f"Bearer {key}"}).status_code

    boss, other = admin(namespace), admin("elsewhere")
    old = shown(boss.post("/keys", name=NAME, role="agent", namespaces=namespace))
    (rotate,) = re.findall(r'action="(/keys/key_[0-9a-f]{32}/rotate)"', boss.browser.get("/keys").text)
    operator = add_person(stack_database, "operator", namespaces=[namespace])
    with httpx.Client(base_url=stack.url, cookies={SESSION: operator.token}) as browser:
        assert Admin(browser).post(rotate).status_code == 403
    assert other.post(rotate).status_code == 404
    assert boss.browser.post(rotate, data={"csrf_token": "0" * 64}).status_code == 403
    page = boss.post(rotate)
    new = shown(page)
    assert "<img" not in page.text
    assert "The previous secret works until" in page.text
    assert new != old
    assert new not in boss.browser.get("/keys").text
    assert (status(old), status(new)) == (200, 200)
    assert boss.post(rotate.replace("rotate", "revoke")).status_code == 303
    assert f'action="{rotate}"' not in boss.browser.get("/keys").text
    assert boss.post(rotate).status_code == 409


def test_an_endpoint_from_first_to_last(admin: Callable[..., Admin], namespace: str) -> None:
    boss = admin(namespace)
    secret = shown(boss.post("/endpoints", url="https://example.com/hook", namespaces=namespace))
    assert secret.startswith("whsec_")
    listed = boss.browser.get("/endpoints").text
    assert secret not in listed
    (path,) = set(re.findall(r'action="(/endpoints/ep_[0-9a-f]{32})/', listed))
    assert shown(boss.post(f"{path}/rotate")) != secret
    assert boss.post(f"{path}/disable").status_code == 303
    assert boss.post(f"{path}/test").status_code == 409
    assert boss.post(f"{path}/enable").status_code == 303
    assert boss.post(f"{path}/test").headers["Location"] == "/webhooks"
    assert boss.post(f"{path}/delete").status_code == 303
    assert "example.com/hook" not in boss.browser.get("/endpoints").text


def test_a_group_from_first_to_last(admin: Callable[..., Admin]) -> None:
    boss, name = admin("*"), f"g-{uuid4().hex[:8]}"
    assert boss.post("/groups", name=name, description=NAME).status_code == 303
    page = boss.browser.get("/groups").text
    assert name in page
    assert "<img" not in page
    assert boss.post("/groups", name="No Group").status_code == 422
    assert boss.post(f"/groups/{name}/delete").status_code == 303
    assert name not in boss.browser.get("/groups").text
