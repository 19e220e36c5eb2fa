"""Paths, queries, methods and headers that mean nothing."""

import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from cli.devstack import Stack
from tests.api.conftest import Team, refused

MIB = 1024 * 1024
NOWHERE = f"wch_{'0' * 32}"


@pytest.mark.parametrize(
    "watch_id",
    [
        "x",
        "wch_",
        "wch_xyz",
        "wch_" + "A" * 32,
        "wch_" + "0" * 33,
        "WCH_" + "0" * 32,
        "0" * 32,
        "ep_" + "0" * 32,
        "wch_" + "0" * 32 + "%0a",
        "wch_%00",
        "wch_%ff",
        "%2e%2e",
        "'",
        "%F0%9F%9A%80",
        "x" * 8_000,
    ],
)
def test_what_is_no_id(watch_id: str, team: Team) -> None:
    for method, suffix in (("GET", ""), ("GET", "/events"), ("POST", "/approve")):
        client = team.reviewer
        refused(client.request(method, f"/api/pause/{watch_id}{suffix}"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("/api/pause", "limit=0"),
        ("/api/pause", "limit=101"),
        ("/api/pause", "limit=-1"),
        ("/api/pause", "limit=ten"),
        ("/api/pause", "limit="),
        ("/api/pause", "limit=1_0"),
        ("/api/pause", "limit=%201"),
        ("/api/pause", "limit=1.0"),
        ("/api/pause", "limit=%D9%A1"),
        ("/api/pause", "limit=" + "9" * 5_000),
        ("/api/pause", "limit=1&limit=2"),
        ("/api/pause", "offset=-1"),
        ("/api/pause", "offset=1000001"),
        ("/api/pause", "cursor=x"),
        ("/api/pause", "cursor=" + "0" * 31),
        ("/api/pause", "cursor=" + "0" * 32 + "%0A"),
        ("/api/pause", "cursor=" + "0" * 32 + "&offset=1"),
        ("/api/pause", "status=maybe"),
        ("/api/pause", "kind=saga"),
        ("/api/pause", "tag="),
        ("/api/pause", "q=%00"),
        ("/api/pause", "q=" + "x" * 201),
        ("/api/pause", "namespace=Upper"),
        ("/api/pause", "created_after=yesterday"),
        ("/api/pause", "created_after=2026-01-01T00:00:00"),
        ("/api/pause", "created_after=0001-01-01T00:00:00%2B14:00"),
        ("/api/pause", "page=2"),
        ("/api/pause", "Status=pending"),
        (f"/api/pause/{NOWHERE}", "wait=61"),
        (f"/api/pause/{NOWHERE}", "wait=-1"),
        (f"/api/pause/{NOWHERE}", "wait=abc"),
        (f"/api/pause/{NOWHERE}", "wait=1.5"),
        (f"/api/pause/{NOWHERE}", "timeout=5"),
    ],
)
def test_a_query_that_means_nothing(path: str, bad: str, team: Team) -> None:
    name = bad.rpartition("&")[2].partition("=")[0] if "cursor=" not in bad else "cursor"
    refused(team.agent.get(f"{path}?{bad}"), 422, "VALIDATION_FAILED", name)


@pytest.mark.parametrize(
    "after", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00%2B05:30"]
)
def test_a_time_that_means_something(after: str, team: Team) -> None:
    assert team.agent.get(f"/api/pause?created_after={after}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/pause", {"GET", "POST"}),
        ("PUT", f"/api/pause/{NOWHERE}", {"GET"}),
        ("GET", f"/api/pause/{NOWHERE}/approve", {"POST"}),
        ("POST", "/healthz", {"GET"}),
        ("PROPFIND", "/v1/keys", {"GET", "POST"}),
    ],
)
def test_a_method_that_the_route_has_not(method: str, path: str, allowed: set[str], team: Team) -> None:
    answer = team.agent.request(method, path)
    refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert {name.strip() for name in answer.headers["Allow"].split(",")} - {"HEAD", "OPTIONS"} == allowed


@pytest.mark.parametrize("path", ["/api", "/api/pause/", "/api//pause", "/v2/keys", "/x" * 4_000])
def test_no_such_route(path: str, team: Team, stack: Stack) -> None:
    """Neither a slash more nor one less is forgiven, so nothing is redirected and no body or key is lost on the way."""
    answer = httpx.get(stack.url + path, headers={"Authorization": team.agent.headers["Authorization"]})
    refused(answer, 404, "NO_SUCH_ROUTE")


# As browsers send it.
PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/inbox/", "/r/", "/review", "/nowhere", "/x" * 4_000])
def test_half_a_link_leads_to_a_page(path: str, stack: Stack) -> None:
    answer = httpx.get(stack.url + path, headers={"Accept": PAGE})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no page at this address" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "accept"), [("/nowhere", "*/*"), ("/nowhere", "application/json"), ("/api/pauses", PAGE), ("/v1/", PAGE)]
)
def test_a_program_reads_a_problem(path: str, accept: str, stack: Stack) -> None:
    refused(httpx.get(stack.url + path, headers={"Accept": accept}), 404, "NO_SUCH_ROUTE")


def test_a_request_line_and_headers_without_end(stack: Stack, team: Team) -> None:
    """The server itself turns these away, before anything of ours runs, and serves the next one."""
    address = urlsplit(stack.url)
    for lines in (b"GET /%s HTTP/1.1\r\nHost: x" % (b"x" * MIB), b"GET / HTTP/1.1\r\nHost: x\r\nX: %s" % (b"x" * MIB)):
        with socket.create_connection((address.hostname, address.port), timeout=90) as sock, suppress(ConnectionError):
            sock.sendall(lines + b"\r\n\r\n")
            assert sock.recv(65_536).split(b" ")[1:2] in ([], [b"400"], [b"414"], [b"431"])
    assert team.agent.get("/api/pause").status_code == 200


def test_bodies_that_one_key_does_not_send_end_by_themselves(team: Team, stack: Stack) -> None:
    """The newest are waited for longer; all who ask meanwhile are answered."""
    where = urlsplit(stack.url)
    head = (
        f"POST /api/pause HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: {team.agent.headers['Authorization']}\r\n"
    )
    begun = head.encode() + b'Content-Type: application/json\r\nContent-Length: 30\r\n\r\n{"action": "D'
    with ExitStack() as held:
        opened = [held.enter_context(socket.create_connection((where.hostname, where.port))) for _ in range(40)]
        for each in opened:
            each.sendall(begun)
        assert team.pause()["status"] == "pending"
        opened[-1].sendall(b'eploy to it now"}')
        assert opened[-1].recv(10_000).startswith(b"HTTP/1.1 201 ")
        for each in opened[:23]:
            each.settimeout(90)
            assert b'"code": "REQUEST_TIMEOUT"' in b"".join(iter(lambda: each.recv(10_000), b""))  # noqa: B023
