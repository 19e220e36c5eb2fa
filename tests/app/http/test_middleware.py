"""The middleware around an application that only returns a status."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from adapters.otel.tracing import open_tracer
from app.http.middleware import with_request_log
from tests.collector import Collector

TRACE, PARENT = "c" * 32, "d" * 16


def says(status: str) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    def application(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [])
        return []

    return application


def environ(method: str = "GET", path: str = "/any", traceparent: str | None = None) -> dict[str, Any]:
    plain = {"wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": method, "PATH_INFO": path}
    return plain | ({} if traceparent is None else {"HTTP_TRACEPARENT": traceparent})


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", True),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
    ],
)
def test_a_callers_trace_is_gone_on_with_where_it_is_one(sent: str, taken: bool) -> None:
    """As W3C Trace Context has it: an id of zeros is none, and so is anything of version ff."""
    found: dict[str, str] = {}
    application = with_request_log(says("200 OK"), None)
    application(environ(traceparent=sent), lambda status, headers: found.update(dict(headers)))
    assert (found["Trace-Id"] == TRACE) is taken
    assert int(found["Trace-Id"], 16)


def test_what_spans_say_of_odd_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's error is one; a made-up method is no name; who asks whether we live is not told of."""
    with Collector() as collector:
        for name, value in collector.environ.items():
            monkeypatch.setenv(name, value)
        tracer = open_tracer("sagahold-test")
        assert tracer is not None
        for status, asked in (
            ("200 OK", environ(path="/readyz")),
            ("500 No", environ()),
            ("404 No", environ("BREW")),
        ):
            with_request_log(says(status), tracer)(asked, lambda *_: None)
        tracer.close()
        broken, odd = sorted(collector.spans(), key=lambda sent: sent.span.start_time_unix_nano)
    assert (broken.name, broken.failed, broken.attributes["error.type"]) == ("GET", True, "500")
    assert (odd.name, odd.failed, odd.attributes["http.request.method"]) == ("HTTP", False, "_OTHER")
