"""Bodies that are no JSON, or JSON that readers take differently: refused with the place, and nothing breaks."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import Team, refused

JSON = {"Content-Type": "application/json"}
KIB = 1024
MIB = KIB * KIB
REPEATED_NUL = ['"\\u0000"'] * 100_000


@pytest.fixture(scope="module")
def agent(team: Team) -> Iterator[httpx.Client]:
    """Whatever was sent, the server is ready after it all and takes the next request."""
    yield team.agent
    assert team.agent.get("/readyz").status_code == 200
    assert team.agent.post("/api/pause", json={"action": "Next, please"}).status_code == 201


def raw(client: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    return client.post("/api/pause", content=body, headers=JSON | headers)


def drafted(field: str, value: str) -> bytes:
    """A pause that is right but for one field, whose JSON is given as it shall be sent."""
    return b'{"action": "Deploy", "%s": %s}' % (field.encode(), value.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("body", [b'{"action": "%s"}' % (b"x" * 2 * MIB), b"[" * 2 * MIB], ids=["text", "brackets"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_of_two_mebibytes(body: bytes, chunked: bool, agent: httpx.Client) -> None:
    refused(raw(agent, iter([body[:MIB], body[MIB:]]) if chunked else body), 413, "BODY_TOO_LARGE")


def test_a_chunked_body_within_the_limit_is_read(agent: httpx.Client) -> None:
    assert raw(agent, iter([b'{"action": ', b'"Deploy"}'])).status_code == 201


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "MALFORMED_JSON"),
        (b"{", 400, "MALFORMED_JSON"),
        (b'{"action": "x"} {}', 400, "MALFORMED_JSON"),
        (b'{"action": "x",}', 400, "MALFORMED_JSON"),
        (b"{'action': 'x'}", 400, "MALFORMED_JSON"),
        (b'{"action": "a\nb"}', 400, "MALFORMED_JSON"),
        (b'{"action": "\xff"}', 400, "MALFORMED_JSON"),
        (b'{"action": "\xed\xa0\x80"}', 400, "MALFORMED_JSON"),
        (b'\xef\xbb\xbf{"action": "x"}', 400, "MALFORMED_JSON"),
        ('{"action": "x"}'.encode("utf-16"), 400, "MALFORMED_JSON"),
        ('{"action": "x"}'.encode("utf-16-le"), 400, "MALFORMED_JSON"),
        ('{"action": "x"}'.encode("utf-32"), 400, "MALFORMED_JSON"),
        (b"null", 422, "VALIDATION_FAILED"),
        (b"[]", 422, "VALIDATION_FAILED"),
        (b'[{"action": "x"}]', 422, "VALIDATION_FAILED"),
        (b'"action"', 422, "VALIDATION_FAILED"),
        (b"17", 422, "VALIDATION_FAILED"),
        (b"true", 422, "VALIDATION_FAILED"),
        (b"{}", 422, "VALIDATION_FAILED"),
    ],
)
def test_what_is_no_json_object(body: bytes, status: int, code: str, agent: httpx.Client) -> None:
    refused(raw(agent, body), status, code)


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"]
)
def test_another_content_type_or_none(content_type: str | None, agent: httpx.Client) -> None:
    """A form of another site can send these types without a preflight, so they do not count as JSON."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = agent.post("/api/pause", content=b'{"action": "Deploy"}', headers=headers)
    refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_a_content_type_that_means_json(content_type: str, agent: httpx.Client) -> None:
    assert raw(agent, b'{"action": "Deploy"}', **{"Content-Type": content_type}).status_code == 201


@pytest.mark.parametrize("bracket", ["[]", "{}"])
@pytest.mark.parametrize("depth", [65, 10_000, 100_000])
def test_deep_nesting(bracket: str, depth: int, agent: httpx.Client) -> None:
    """The body is the first level, its context the second one."""
    inside = depth - 3
    value = ("[" if bracket == "[]" else '{"a":') * inside + bracket + bracket[1] * inside
    refused(raw(agent, drafted("context", f'{{"a": {value}}}')), 422, "VALIDATION_FAILED")


def test_the_deepest_nesting_that_is_allowed(agent: httpx.Client) -> None:
    assert raw(agent, drafted("context", '{"a":' * 63 + "1" + "}" * 63)).status_code == 201


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ('{"a": "\\u0000"}', "context.a"),
        ('{"a": ["x", {"b": "x\\u0000y"}]}', "context.a[1].b"),
        ('{"a\\u0000": 1}', "context (a key)"),
        ('{"a": "\\ud800"}', "context.a"),
        ('{"a": "\\udfff\\ud800"}', "context.a"),
        ('{"\\ud800": 1}', "context (a key)"),
        ('{"a": NaN}', "context.a"),
        ('{"a": Infinity}', "context.a"),
        ('{"a": -Infinity}', "context.a"),
        ('{"a": 1e400}', "context.a"),
        ('{"a": -1e400}', "context.a"),
        ('{"a": [9007199254740992]}', "context.a[0]"),
        ('{"a": -9007199254740992}', "context.a"),
        ('{"a": %s}' % ("9" * 400), "context.a"),
        ('{"a": %s}' % ("9" * 5_000), "context.a"),
        ('{"a": %s.5}' % ("9" * 5_000), "context.a"),
    ],
)
def test_values_that_some_reader_would_refuse_or_change(value: str, path: str, agent: httpx.Client) -> None:
    refused(raw(agent, drafted("context", value)), 422, "VALIDATION_FAILED", path)


@pytest.mark.parametrize(
    "value",
    [9007199254740991, -9007199254740991, 0.1, 1e22, 1e308, 5e-324, -0.0, "\U0001f680", "\x01\x7f\u2028", "é\u0301"],
)
def test_values_that_everyone_keeps_come_back_as_they_were(value: object, agent: httpx.Client) -> None:
    made = agent.post("/api/pause", json={"action": "Deploy", "context": {"a": value}}).json()
    read = agent.get(f"/api/pause/{made['watchId']}").json()
    assert made["agentContext"]["context"] == read["agentContext"]["context"] == {"a": value}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"action": "Read a file", "action": "Delete all files"}', "action"),
        (b'{"action": "x", "context": {"a": {"b": 1, "c": 2, "b": 1}}}', "b"),
        (b'{"action": "x", "arguments": {"to": "me", "\\u0074o": "you"}}', "to"),
    ],
)
def test_a_name_that_stands_twice_in_one_object(body: bytes, path: str, agent: httpx.Client) -> None:
    refused(raw(agent, body), 422, "VALIDATION_FAILED", path)


def test_work_that_grows_faster_than_the_body_is_not_done(agent: httpx.Client) -> None:
    """Each of these kept a thread busy for minutes once; the client gives up after 70 s."""
    many_names = ",".join(f'"{n}":1' for n in range(90_000))
    refused(raw(agent, b'{%s,"89999":1}' % many_names.encode()), 422, "VALIDATION_FAILED", "89999")
    long_name = f'{{"{"n" * 500 * KIB}": [{",".join("0" * 250_000)}]}}'
    refused(raw(agent, drafted("context", long_name)), 422, "VALIDATION_FAILED", "context")
    field_errors = f"[{','.join(REPEATED_NUL)}]"
    assert (
        len(refused(raw(agent, drafted("context", f'{{"a": {field_errors}}}')), 422, "VALIDATION_FAILED")["errors"])
        == 20
    )
    refused(agent.post("/api/pause", json={"action": "x", "tags": [" "] * 200_000}), 422, "VALIDATION_FAILED", "tags")
