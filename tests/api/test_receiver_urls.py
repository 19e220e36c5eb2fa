"""Addresses of receivers that are refused when they are posted, on a server whose operator allowed no network.

The app runs here without a server in front: the shared stack allows loopback, as its tests deliver there.
"""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from app.http.key_cache import KeyCache
from domain.identity.access import Principal, Role
from services.kernel.unit_of_work import Database
from tests.api.alone import app_alone

BAD = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://sub.localhost/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::1]/",
    "http://[fd00::1]/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://0.0.0.0/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://017700000001/",
    "http://①②⑦.0.0.1/",
    "http://user:password@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "//example.com/",
    "example.com",
    "http://",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://exa mple.com/",
    "http://example.com/\r\nX: y",
    "http://example.com/#fragment",
    "http://" + "a" * 64 + ".com/",
    "http://example.com/" + "x" * 2_048,
]


@pytest.fixture
def client(database: Database) -> FlaskClient:
    """As an admin who may do everything."""
    admin = Principal("key_x", "test", Role.ADMIN, ("*",))
    strict = replace(database, egress_allow=())
    keys = KeyCache(lambda hash_: admin)
    client = app_alone(strict, keys).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer hitl_" + "x" * 43
    return client


def test_a_bad_address_of_a_callback_or_endpoint(client: FlaskClient) -> None:
    """All on one database: each has nothing stored behind it."""
    for url in BAD:
        pause = client.post("/api/pause", json={"action": "Deploy", "callbackUrl": url})
        endpoint = client.post("/v1/webhooks/endpoints", json={"url": url, "namespaces": ["default"]})
        for answer, path in ((pause, "callbackUrl"), (endpoint, "url")):
            assert answer.status_code == 422, url
            assert answer.content_type == "application/problem+json"
            assert [field_error["path"] for field_error in answer.json["errors"]] == [path], url
    assert client.get("/api/pause").json["items"] == client.get("/v1/webhooks/endpoints").json["items"] == []


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?a=b", "http://93.184.216.34:8080/", "https://xn--bcher-kva.example"]
)
def test_a_good_address(url: str, client: FlaskClient) -> None:
    made = client.post("/api/pause", json={"action": "Deploy", "callbackUrl": url})
    assert (made.status_code, made.json["callbackUrl"]) == (201, url)


def test_an_endpoint_is_not_changed_to_a_bad_address(client: FlaskClient) -> None:
    made = client.post("/v1/webhooks/endpoints", json={"url": "https://example.com/", "namespaces": ["default"]}).json
    path = f"/v1/webhooks/endpoints/{made['id']}"
    assert client.patch(path, json={"url": "http://10.0.0.1/"}).status_code == 422
    assert client.get(path).json["url"] == "https://example.com/"
