"""Receipts over HTTP: their type, the published keys, and how each way to sign in is named."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from adapters.receipts.verification import key_set, verify
from app.dashboard.framework.cookies import LINK, SESSION
from app.http.key_cache import KeyCache
from domain.identity.access import Role
from domain.identity.person import Identity
from domain.values import ids
from services.identity.keys import NewKey, authenticate, create_key
from services.identity.people import PersonChange, create_person, make_sign_in_link
from services.identity.sessions import SignInOrigin
from services.identity.sign_in import set_password, sign_in, sign_in_as
from services.identity.sign_in_links import make_link, use_link
from services.kernel.unit_of_work import Database
from tests.api.alone import app_alone
from tests.api.conftest import form_token
from tests.services.world import ADMIN, change, uuid_of

Send = Callable[..., TestResponse]
HERE = SignInOrigin("127.0.0.1", "a browser")
PASSWORD = "correct horse battery"


@pytest.fixture
def client(database: Database) -> FlaskClient:
    keys = KeyCache(lambda hash_: authenticate(database, hash_))
    return app_alone(database, keys, anonymous_role=None).test_client(use_cookies=False)


@pytest.fixture
def send(client: FlaskClient, database: Database) -> Send:
    """Return a function that sends a request with a key of the role."""
    made: dict[tuple[str, str], str] = {}

    def run(role: str, method: str, path: str, body: Any = None, namespace: str = "*") -> TestResponse:
        if (role, namespace) not in made:
            key, _ = create_key(database, ADMIN, NewKey(f"test {role}", Role(role), (namespace,)), None)
            made[role, namespace] = key["key"]
        headers = {"Authorization": f"Bearer {made[role, namespace]}"}
        return client.open(path, method=method, json=body, headers=headers)

    return run


def paused(send: Send, **more: Any) -> str:
    made = send("agent", "POST", "/api/pause", {"action": "Deploy", **more})
    assert made.status_code == 201, made.text
    return str(made.json["watchId"])  # type: ignore[index]


def decided(send: Send, verb: str = "approve") -> str:
    watch_id = paused(send)
    assert send("reviewer", "POST", f"/api/pause/{watch_id}/{verb}", {}).status_code == 200
    return watch_id


def claims(client: FlaskClient, token: str) -> Any:
    keys = key_set(client.get("/.well-known/jwks.json").data)
    return verify(token.encode(), keys).claims


def test_a_receipt(client: FlaskClient, send: Send) -> None:
    watch_id = decided(send)
    answer = send("agent", "GET", f"/api/pause/{watch_id}/receipt")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/jose")
    assert answer.headers["Cache-Control"] == "no-store"
    found = claims(client, answer.text)
    assert (found["watch_id"], found["outcome"]) == (watch_id, "approved")
    (vote,) = found["votes"]
    assert (vote["name"], vote["auth"]) == ("test reviewer", "api_key")


def test_a_pending_pause_and_one_of_others(send: Send) -> None:
    watch_id = paused(send)
    answer = send("agent", "GET", f"/api/pause/{watch_id}/receipt")
    assert (answer.status_code, answer.json["code"]) == (409, "NOT_RESOLVED")  # type: ignore[index]
    assert "wait for the decision" in answer.json["detail"]  # type: ignore[index]
    for path in (f"/api/pause/{watch_id}/receipt", "/api/pause/x/receipt"):
        assert send("agent", "GET", path, namespace="elsewhere").status_code == 404


def test_the_published_keys_need_no_key_and_may_be_cached(client: FlaskClient, send: Send) -> None:
    answer = client.get("/.well-known/jwks.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    # A verifier in a browser is a page of another origin.
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Origin" not in send("agent", "GET", f"/api/pause/{decided(send)}/receipt").headers
    assert "d" not in answer.json["keys"][0]  # type: ignore[index]


def test_a_rotation(client: FlaskClient, send: Send) -> None:
    old = send("agent", "GET", f"/api/pause/{decided(send)}/receipt").text
    made = send("admin", "POST", "/v1/receipt-keys/rotate")
    assert made.status_code == 201
    assert claims(client, old)["outcome"] == "approved"
    listed = send("admin", "GET", "/v1/receipt-keys").json["items"]  # type: ignore[index]
    assert listed[0]["kid"] == made.json["kid"]  # type: ignore[index]
    assert [jwk["kid"] for jwk in json.loads(client.get("/.well-known/jwks.json").text)["keys"]] == [
        key["kid"] for key in listed
    ]
    assert send("admin", "POST", "/v1/receipt-keys/rotate", namespace="shop").status_code == 403


def test_a_key_that_cannot_be_used(send: Send, database: Database) -> None:
    watch_id = decided(send)
    send("agent", "GET", f"/api/pause/{watch_id}/receipt")
    change(database, "UPDATE receipt_keys SET private_key = NULL")
    answer = send("agent", "GET", f"/api/pause/{watch_id}/receipt")
    assert (answer.status_code, answer.json["code"]) == (503, "RECEIPT_KEY_UNAVAILABLE")  # type: ignore[index]
    assert "SAGAHOLD_RECEIPT_KEYS_DIR" in send("admin", "GET", "/v1/receipt-keys").json["items"][0]["problem"]  # type: ignore[index]


def signed_in(database: Database, way: str, watch_id: str) -> str:
    """Return the cookie of a person who came in this way."""
    new = PersonChange(email=f"{way}@example.com", name=way, role=Role.REVIEWER, namespaces=("*",))
    person, _ = create_person(database, ADMIN, new)
    link = str(make_sign_in_link(database, ADMIN, person["id"])["url"]).rpartition("/")[2]
    if way == "review_link":
        user_id = ids.parse(ids.USER, person["id"])
        assert isinstance(user_id, UUID)
        with database.transaction() as uow:
            token = make_link(uow, user_id, uow.now + timedelta(hours=1), uuid_of(watch_id))
        return f"{LINK}={token}"
    if way == "oidc":
        identity = Identity("https://id.example|1", f"{way}@example.com", email_verified=True)
        token, _ = sign_in_as(database, identity, HERE)
    else:
        token, by = use_link(database, link, HERE)
        if way == "password":
            set_password(database, by, token, "", PASSWORD)
            token, _ = sign_in(database, f"{way}@example.com", PASSWORD, HERE)
    return f"{SESSION}={token}"


@pytest.mark.parametrize("way", ["password", "oidc", "sign_in_link", "review_link"])
def test_how_a_person_signed_in(way: str, client: FlaskClient, send: Send, database: Database) -> None:
    watch_id = paused(send)
    headers = {"Cookie": signed_in(database, way, watch_id)}
    page = client.get(f"/review/{watch_id}", headers=headers)
    form = {"csrf_token": form_token(page.text), "revision": "1"}
    assert "/receipt" not in page.text
    assert client.post(f"/review/{watch_id}/approve", data=form, headers=headers).status_code == 303
    page = client.get(f"/review/{watch_id}", headers=headers)
    found = re.search(r'href="(/review/[^"]*/receipt)" download', page.text)
    assert found is not None
    answer = client.get(found[1], headers=headers)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{watch_id}.jws"'
    (vote,) = claims(client, answer.text)["votes"]
    assert (vote["name"], vote["auth"]) == (way, way)


def test_the_page_of_a_pending_review_has_no_receipt(client: FlaskClient, send: Send, database: Database) -> None:
    watch_id = paused(send)
    headers = {"Cookie": signed_in(database, "oidc", watch_id)}
    assert client.get(f"/review/{watch_id}/receipt", headers=headers).status_code == 409


def test_without_keys_the_voter_is_anonymous(database: Database) -> None:
    client = app_alone(database, KeyCache(lambda hash_: None), "admin").test_client()
    made = client.post("/api/pause", json={"action": "Deploy"}).json
    assert made is not None
    path = f"/api/pause/{made['watchId']}"
    assert client.post(f"{path}/approve", json={}).status_code == 200
    (vote,) = claims(client, client.get(f"{path}/receipt").text)["votes"]
    assert (vote["person"], vote["auth"]) == ("anonymous", "anonymous")
