"""Signing in by an identity provider: only whom it vouches for, to us, now, in this browser; and whom an admin made."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from flask.testing import FlaskClient
from joserfc.jwk import OctKey, RSAKey
from werkzeug.test import TestResponse

from adapters.oidc import Provider, ProviderAway
from app.http.key_cache import KeyCache
from domain.identity.access import Role
from services.identity.groups import put_group
from services.identity.people import PersonChange, change_person, create_person, get_person, list_people
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from tests.api.alone import app_alone
from tests.api.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider
from tests.services.world import ADMIN, one

EMAIL = "ann@example.com"
VERIFIED = {"email": "Ann@Example.com", "email_verified": True}


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as server:
        server.claims = dict(VERIFIED)
        yield server
        server.shutdown()


@pytest.fixture
def browser(database: Database, provider: IdentityProvider) -> FlaskClient:
    """A browser, with one person in the database."""
    create_person(database, ADMIN, PersonChange(email=EMAIL, name="Ann", role=Role.REVIEWER, namespaces=("default",)))
    return visitor(database, provider)


def visitor(database: Database, provider: IdentityProvider, **options: Any) -> FlaskClient:
    app = app_alone(database, KeyCache(lambda hash_: None))
    return_url = f"{database.public_url}/sign-in/oidc/return"
    secret = options.get("secret", CLIENT_SECRET)
    trust, claim = options.get("trust_email", False), options.get("groups_claim")
    issuer = options.get("issuer", provider.url)
    configured = Provider(issuer, CLIENT_ID, secret, return_url, trust_email=trust, groups_claim=claim)
    app.extensions["sagahold"] = replace(app.extensions["sagahold"], provider=configured)
    return app.test_client()


def at_the_provider(begun: TestResponse) -> str:
    """The way back to us, as the provider gives it to the browser."""
    assert begun.status_code == 303, begun.text
    answer = httpx.get(begun.headers["Location"])
    assert answer.status_code == 302
    return answer.headers["Location"].removeprefix("http://sagahold.test")


def enter(browser: FlaskClient) -> TestResponse:
    return browser.get(at_the_provider(browser.get("/sign-in/oidc?next=/people")))


def test_in_by_the_provider(browser: FlaskClient, provider: IdentityProvider, database: Database) -> None:
    """With PKCE, which the provider checks; afterwards one is where one wanted to go."""
    assert "/sign-in/oidc" in browser.get("/sign-in").text
    answer = enter(browser)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/people")
    assert EMAIL in browser.get("/account").text
    (asked,) = provider.asked
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert set(asked["scope"].split()) >= {"openid", "email"}
    assert one(database, "SELECT oidc_subject FROM users") == f"{provider.url}|4711"


def test_the_address_may_come_from_its_userinfo(browser: FlaskClient, provider: IdentityProvider) -> None:
    provider.claims, provider.user_info = {}, {"sub": "4711", **VERIFIED}
    assert enter(browser).status_code == 303
    provider.user_info = {"sub": "another", **VERIFIED}
    assert enter(browser).status_code == 403


STRANGER = RSAKey.generate_key(2048, {"kid": "one"})


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
        {"email": "nobody@example.com"},
        {"email": None},
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"iss": "https://another.example"},
        {"sub": None},
        {"exp": 1_000_000_000},
        {"exp": None},
    ],
    ids=str,
)
def test_an_id_token_that_lets_nobody_in(
    browser: FlaskClient, provider: IdentityProvider, database: Database, claims: dict[str, object]
) -> None:
    provider.claims |= claims
    refused(enter(browser), database)


def test_a_token_that_the_provider_did_not_sign(
    browser: FlaskClient, provider: IdentityProvider, database: Database
) -> None:
    """Not with another's key, and not with the secret that we share."""
    provider.signs_with = STRANGER
    refused(enter(browser), database)
    provider.signs_with, provider.algorithm = OctKey.import_key(CLIENT_SECRET), "HS256"  # type: ignore[assignment]
    refused(enter(browser), database)


def test_an_answer_that_this_browser_did_not_ask_for(
    browser: FlaskClient, provider: IdentityProvider, database: Database
) -> None:
    """A return link prepared in another browser signs no one in, and neither does a used one."""
    other = visitor(database, provider)
    prepared = at_the_provider(other.get("/sign-in/oidc"))
    refused(browser.get(prepared), database)
    back = at_the_provider(browser.get("/sign-in/oidc"))
    refused(browser.get(back.replace("state=", "state=x")), database)
    back = at_the_provider(browser.get("/sign-in/oidc"))
    refused(
        browser.get("/sign-in/oidc/return?error=access_denied&state=" + dict(parse_qsl(urlsplit(back).query))["state"]),
        database,
    )
    back = at_the_provider(browser.get("/sign-in/oidc"))
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 403


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_it_leads_to_no_other_site(browser: FlaskClient, wanted: str) -> None:
    answer = browser.get(at_the_provider(browser.get("/sign-in/oidc", query_string={"next": wanted})))
    assert answer.headers["Location"] == "/inbox"


def test_a_provider_that_is_away_or_another(database: Database, provider: IdentityProvider) -> None:
    """Says so, without a trace of why."""
    away = visitor(database, provider, issuer="http://127.0.0.1:9").get("/sign-in/oidc")
    assert away.status_code == 503
    provider.issuer = "https://another.example"
    assert visitor(database, provider).get("/sign-in/oidc").status_code == 503
    assert "Traceback" not in away.text
    with pytest.raises(ProviderAway):
        Provider(provider.url, CLIENT_ID, CLIENT_SECRET, "http://x").begin("secret")


def test_our_own_secret_is_wrong(database: Database, provider: IdentityProvider) -> None:
    answer = enter(visitor(database, provider, secret="another"))
    refused(answer, database)
    assert "does not accept this server" in answer.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("access_denied", "You cancelled the sign-in"),
        ("login_required", "You cancelled the sign-in"),
        ("server_error", "refused the sign-in"),
        ("unauthorized_client", "does not accept this server"),
        ("<b>", "refused the sign-in"),
    ],
)
def test_what_the_provider_refuses_is_said(browser: FlaskClient, database: Database, error: str, said: str) -> None:
    back = at_the_provider(browser.get("/sign-in/oidc"))
    state = dict(parse_qsl(urlsplit(back).query))["state"]
    answer = browser.get("/sign-in/oidc/return", query_string={"error": error, "state": state})
    refused(answer, database)
    assert said in answer.text
    assert "no account here" not in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("verified", "plain", "trusting"),
    [
        (True, 303, 303),
        (None, 403, 303),
        ("true", 403, 303),
        ("True", 403, 303),
        (False, 403, 403),
        ("false", 403, 403),
    ],
)
def test_an_address_of_which_the_provider_says_nothing(
    browser: FlaskClient, provider: IdentityProvider, database: Database, verified: object, plain: int, trusting: int
) -> None:
    """An unverified address, as from Entra ID: the operator may trust the issuer, and the error says so."""
    provider.claims |= {"email_verified": verified}
    answer = enter(browser)
    assert answer.status_code == plain
    assert ("SAGAHOLD_OIDC_TRUST_EMAIL" in answer.text) is (plain == 403)
    assert enter(visitor(database, provider, trust_email=True)).status_code == trusting


def test_an_unknown_account_is_said_to_be_one(browser: FlaskClient, provider: IdentityProvider) -> None:
    provider.claims |= {"email": "nobody@example.com"}
    assert "no account here" in enter(browser).text


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("groups", {"groups": ["ops", "not here", 7, "legal"]}),
        ("realm.roles", {"realm": {"roles": ["legal", "ops"]}}),
        ("https://id.test/groups", {"https://id.test/groups": ["ops", "legal"]}),
    ],
)
def test_groups_are_those_that_the_provider_names(
    browser: FlaskClient, provider: IdentityProvider, database: Database, claim: str, claims: dict[str, object]
) -> None:
    for name in ("ops", "legal", "board"):
        put_group(database, ADMIN, name, None, ())
    person = list_people(database, ADMIN, Page()).items[0]["id"]
    change_person(database, ADMIN, person, PersonChange(groups=("board",)))

    def now(told: dict[str, object]) -> list[str]:
        provider.claims = VERIFIED | told
        assert enter(visitor(database, provider, groups_claim=claim)).status_code == 303
        found: list[str] = get_person(database, ADMIN, person)["groups"]
        return found

    assert enter(browser).status_code == 303
    assert get_person(database, ADMIN, person)["groups"] == ["board"]
    assert now({}) == ["board"]
    assert now(claims) == ["legal", "ops"]
    assert now({claim: ["ops"]}) == ["ops"]
    assert now({claim: []}) == []


def test_where_none_is_configured_there_is_no_such_page(database: Database) -> None:
    browser = app_alone(database, KeyCache(lambda hash_: None)).test_client()
    assert browser.get("/sign-in/oidc").status_code == 404
    assert browser.get("/sign-in/oidc/return?code=x&state=y").status_code == 404
    assert "/sign-in/oidc" not in browser.get("/sign-in").text


def refused(answer: TestResponse, database: Database) -> None:
    assert answer.status_code == 403, answer.text
    assert "Set-Cookie" in answer.headers, "the attempt is over"
    assert "sagahold_session" not in answer.headers["Set-Cookie"]
    assert one(database, "SELECT count(*) FROM sessions") == 0
