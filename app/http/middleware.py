"""WSGI middleware for every response: default headers, a trace id, a log line, metrics and a span.

Unlike Flask's hooks, it also sees the requests that Flask refuses, and takes a third of the time.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from adapters.process.logs import trace_id
from app.http.metrics import METHODS, count
from app.http.parking import BEGAN, WAIT

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer

log = logging.getLogger("sagahold.request")

# W3C Trace Context: version, trace id, parent id, flags. An id of zeros is invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# A key in the path, which must not get into the log.
_KEY = re.compile(r"hitl_[A-Za-z0-9_-]{8,}")
# Links that sign a person in; the rest of the path is their secret.
_LINK = re.compile(r"^(/r/|/sign-in/link/).+", re.DOTALL)

# Defaults; a response may set its own values.
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
]

# Keys in a request's WSGI environment: the id of the key or person, the caller's `traceparent`,
# and that of the started saga's span.
KEY_ID, CALLER, SET_OFF = "sagahold.key_id", "sagahold.caller", "sagahold.set_off"

Environ = dict[str, Any]


# Machines poll these every few seconds, so spans would add only noise.
_NO_SPAN = frozenset({"/healthz", "/readyz", "/metrics"})
# A variable part of a route in Flask's notation.
_PART = re.compile(r"<(?:[^<>:]+:)?([^<>]+)>")

Application = Callable[[Environ, Any], Iterable[bytes]]


def with_request_log(application: Application, tracer: "Tracer | None") -> Application:
    """Wrap the application so that each response gets headers, a log line, metrics and a span."""

    def wrapped(environ: Environ, start_response: Any) -> Iterable[bytes]:
        began = environ.get(BEGAN) or time.perf_counter()
        sent = environ.get("HTTP_TRACEPARENT")
        parent = _TRACEPARENT.fullmatch(sent) if sent else None
        # A trace id is no secret, so it needs no secure randomness.
        trace = parent[1] if parent else f"{random.getrandbits(128):032x}"
        trace_id.set(trace)
        environ[CALLER] = parent and parent[0]
        if "CONTENT_LENGTH" in environ:
            # A body with a length needs one read; without, two, and each releases the interpreter lock.
            environ.pop("wsgi.input_terminated", None)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if WAIT in environ:
                environ[WAIT].answer()
            has = {name for name, _ in headers}
            headers += [header for header in _HEADERS if header[0] not in has]
            headers.append(("Trace-Id", trace))
            seconds = time.perf_counter() - began
            path = _log_and_count(environ, int(status[:3]), seconds)
            if tracer is not None:
                _trace(tracer, environ, int(status[:3]), seconds, path, trace, parent and parent[0])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return application(environ, start)

    return wrapped


def _log_and_count(environ: Environ, status: int, seconds: float) -> str:
    """Log and count the request; return the path as logged, without secrets and without the query."""
    method = environ["REQUEST_METHOD"]
    # Flask stores its request here. The metrics have the route, because each path with an id would add a time series.
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    count(method, "none" if rule is None else rule.rule, status, seconds)
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    path = _LINK.sub(r"\1…", _KEY.sub("hitl_…", path))
    fields = {
        "method": method,
        "path": path,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "key": environ.get(KEY_ID),
    }
    log.info("request", extra=fields)
    return path


def _trace(
    tracer: "Tracer", environ: Environ, status: int, seconds: float, path: str, trace: str, sent: str | None
) -> None:
    """Record a span from the request's arrival to the start of its response, like the log line and the metrics.

    The span of a long poll includes the wait; the span of a stream ends before its first event.
    """
    if path in _NO_SPAN:
        return
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in METHODS else "_OTHER"
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.path": path,
        "url.scheme": environ["wsgi.url_scheme"],
        "network.protocol.version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
    }
    name = "HTTP" if method == "_OTHER" else method
    if rule is not None:
        attributes["http.route"] = _PART.sub(r"{\1}", rule.rule)
        name += f" {attributes['http.route']}"
    if status >= 500:
        attributes["error.type"] = str(status)
    tracer.answered(name, seconds, trace, sent, attributes, environ.get(SET_OFF))
