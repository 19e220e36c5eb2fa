"""SAGAHOLD_ALLOW_ANONYMOUS: requests without a key, on a laptop and nowhere else.

The app runs here without a server, because a test cannot come from another machine. The tests set the caller's address
in the request's environment.
"""

import os
import socket
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from flask.testing import FlaskClient

import settings
from adapters.process.local_peers import users_connected_to
from app.http.key_cache import KeyCache
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from tests.api.alone import app_alone
from tests.services.saga_world import WORKER, step, tools, work
from tests.services.world import ADMIN

# The status of a request without a body, once the caller is admitted. No database is needed until then.
LET_IN = 415
REFUSED = 401


def client_of(role: str | None, database: Database = cast(Any, None)) -> FlaskClient:  # noqa: B008
    return app_alone(database, KeyCache(lambda hash_: None), role).test_client()


def ask(role: str | None, host: str = "localhost:8000", peer: str = "127.0.0.1", **headers: str) -> int:
    """Post a pause without a key and without a body; the status."""
    named = {"Host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    return client_of(role).post("/api/pause", headers=named, environ_overrides={"REMOTE_ADDR": peer}).status_code


def test_without_the_setting_nobody_is_let_in() -> None:
    assert ask(None) == REFUSED


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "127.8.8.8", "[::1]:8000"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_this_machine_under_a_loopback_name(host: str, peer: str) -> None:
    assert ask("agent", host, peer) == LET_IN


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.168.1.2", "8.8.8.8", "fe80::1", "::ffff:10.0.0.7", ""])
def test_another_machine(peer: str) -> None:
    assert ask("agent", peer=peer) == REFUSED


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "0.0.0.0:8000",
        "[::]",
        "x@localhost",
    ],
)
def test_a_name_that_only_resolves_to_this_machine(host: str) -> None:
    """DNS rebinding: the browser believes that it talks to evil.example."""
    assert ask("agent", host) in (400, REFUSED)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "file://",
        "",
        "http://localhost:5173",
        "http://127.0.0.1:8000",
    ],
)
def test_a_page_of_another_site(origin: str) -> None:
    assert ask("agent", Origin=origin) == REFUSED


def test_a_page_of_this_very_server() -> None:
    """And of no other: what else runs on this machine may show pages of anybody."""
    assert ask("agent", Origin="http://localhost:8000") == LET_IN


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_through_a_proxy(name: str) -> None:
    """Everyone in the world looks local to a server behind a proxy."""
    assert ask("agent", **{name: "127.0.0.1"}) == REFUSED


def test_a_bad_key_is_not_better_than_none() -> None:
    """Else a revoked key would go on working, under another name."""
    assert ask("admin", Authorization="Bearer hitl_" + "x" * 43) == REFUSED


@pytest.mark.parametrize(
    ("role", "created", "decided", "keys"),
    [("agent", 201, 403, 403), ("reviewer", 403, 404, 403), ("operator", 403, 404, 403), ("admin", 201, 404, 200)],
)
def test_the_roles_rights_and_no_more(role: str, created: int, decided: int, keys: int, database: Database) -> None:
    client = client_of(role, database)
    base = {"Host": "localhost"}
    unknown = f"/api/pause/wch_{'0' * 32}/approve"
    assert client.post("/api/pause", json={"action": "Deploy"}, headers=base).status_code == created
    assert client.post(unknown, json={}, headers=base).status_code == decided
    assert client.get("/v1/keys", headers=base).status_code == keys


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_without_keys_all_callers_are_the_same(verb: str, database: Database) -> None:
    """Who made it and who decides it may be two; the row says so too."""
    client, base = client_of("admin", database), {"Host": "localhost"}
    made = client.post("/api/pause", json={"action": "Deploy"}, headers=base)
    answer = client.post(f"/api/pause/{made.json['watchId']}/{verb}", headers=base)
    assert (answer.status_code, answer.json["decision"]["decidedBy"]) == (200, "anonymous")


@pytest.mark.parametrize("verb", ["approve", "reject", "decision"])
def test_a_step_by_the_bare_lines(verb: str, database: Database) -> None:
    """A saga started without a key is listed and decided without one."""
    client, base = client_of("admin", database), {"Host": "localhost"}
    deploy(database, ADMIN, WORKER, replace=False)
    deploy(
        database, ADMIN, {"kind": "saga", "name": "s", "version": "1", "steps": [step("a", hitl=True)]}, replace=True
    )
    started = client.post("/v1/sagas/start", json={"name": "s", "version": "1", "input": {"n": 1}}, headers=base)
    work(database, UUID(hex=started.json["trace_id"]), tools())
    (item,) = client.get("/v1/sagas/pending-review", headers=base).json["items"]
    path = f"/v1/sagas/{item['saga_trace_id']}/steps/{item['step_span_id']}/{verb}"
    body = {"approve": {"output": {}}, "reject": {"error_details": {"reason": "operator rejected"}}}
    answer = client.post(path, json=body.get(verb, {"decision": "APPROVE", "output": {}}), headers=base)
    assert (answer.status_code, answer.json["status"]) == (202, "queued")


ENVIRON = {"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x", "SAGAHOLD_ALLOW_ANONYMOUS": "agent"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "192.168.1.1"])
def test_a_server_that_others_can_reach_does_not_start_with_it(host: str) -> None:
    with pytest.raises(settings.SettingsError, match="SAGAHOLD_ALLOW_ANONYMOUS"):
        settings.load(ENVIRON | {"SAGAHOLD_HOST": host})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", ""])
def test_a_server_on_loopback_starts_with_it(host: str) -> None:
    assert settings.load(ENVIRON | {"SAGAHOLD_HOST": host}).anonymous_role == "agent"


@pytest.mark.parametrize("role", ["root", "yes", "1"])
def test_what_is_no_role(role: str) -> None:
    with pytest.raises(settings.SettingsError, match="SAGAHOLD_ALLOW_ANONYMOUS"):
        settings.load(ENVIRON | {"SAGAHOLD_ALLOW_ANONYMOUS": role})


@pytest.mark.parametrize(
    "changes", [{"SAGAHOLD_PROXIES": "1"}, {"SAGAHOLD_PUBLIC_URL": "https://hold.example.com"}], ids=["proxies", "url"]
)
def test_not_where_the_settings_tell_of_a_proxy(changes: dict[str, str]) -> None:
    with pytest.raises(settings.SettingsError, match="SAGAHOLD_ALLOW_ANONYMOUS: allowed only without a proxy"):
        settings.load(ENVIRON | changes)


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-Host", "X-Forwarded-Proto", "CF-Connecting-IP", "Cdn-Loop", "X-Original-Forwarded-For", "Via"],
)
def test_whatever_a_proxy_adds(header: str) -> None:
    assert ask("agent", **{header: "x"}) == REFUSED


# granian calls HTTP/1.0 "HTTP/1".
@pytest.mark.parametrize("protocol", ["HTTP/1", "HTTP/1.0", "HTTP/2"])
def test_the_protocol_that_proxies_speak(protocol: str) -> None:
    old = {"REMOTE_ADDR": "127.0.0.1", "SERVER_PROTOCOL": protocol}
    assert client_of("agent").post("/api/pause", environ_overrides=old).status_code == REFUSED


def test_whose_programs_are_connected(tmp_path: Path) -> None:
    """A proxy of another user, as Debian's nginx and a container's ports are, is seen by this."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert users_connected_to(port) == set()
        with socket.create_connection(("127.0.0.1", port)):
            assert users_connected_to(port) == {os.getuid()}
    table = tmp_path / "tcp"
    row = " 0: {} {} {} 00000000:00000000 00:00000000 00000000 {} 0 1 1 0 100 0 0 10 0\n"
    table.write_text(
        "  sl  local_address rem_address st\n"
        + row.format("0100007F:C001", "0100007F:1F40", "01", 33)
        + row.format("0100007F:1F40", "0100007F:C001", "01", 1000)
        + row.format("0100007F:C002", "0100007F:1F41", "01", 34)
        + row.format("0100007F:C003", "0100000A:1F40", "01", 35)
        + row.format("0100007F:C004", "0100007F:1F40", "06", 36)
        + row.format("0" * 24 + "01000000:C005", "0" * 24 + "01000000:1F40", "01", 37)
        + row.format("0000000000000000FFFF00000100007F:C006", "0000000000000000FFFF00000100007F:1F40", "01", 38)
    )
    assert users_connected_to(8_000, (table, tmp_path / "none")) == {33, 37, 38}
