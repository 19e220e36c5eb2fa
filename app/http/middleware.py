"""What every answer gets, whatever made it: default headers, a trace id, a line in the log, a place in the metrics and
a span.

WSGI middleware, not Flask's hooks: it also sees what Flask itself refuses, and takes a third of the time.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from adapters.process.logs import trace_id
from app.http.metrics import METHODS, count

if TYPE_CHECKING:
    from adapters.otel.sdk import Tracer

log = logging.getLogger("sagahold.request")

# W3C Trace Context: version, trace id, parent id, flags. An id of zeros is none.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# A key that somebody put into the path: it must not get into the log.
_KEY = re.compile(r"hitl_[A-Za-z0-9_-]{8,}")
# Links that let a person in: what follows is their secret.
_LINK = re.compile(r"^(/r/|/sign-in/link/).+", re.DOTALL)

# An answer that needs another value sets its own.
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
]

# Under these names in the environment of a request: the id of the key that it came with, its caller's `traceparent`,
# and that of the span of what it has set going.
KEY_ID, CALLER, SET_OFF = "sagahold.key_id", "sagahold.caller", "sagahold.set_off"

Environ = dict[str, Any]


# Asked every few seconds, by machines: no span tells anything of it.
_NO_SPAN = frozenset({"/healthz", "/readyz", "/metrics"})
# A part of a route that a request fills in, as Flask writes it.
_PART = re.compile(r"<(?:[^<>:]+:)?([^<>]+)>")

Application = Callable[[Environ, Any], Iterable[bytes]]


def every_answer(application: Application, tracer: "Tracer | None") -> Application:
    def answering(environ: Environ, start_response: Any) -> Iterable[bytes]:
        began = time.perf_counter()
        sent = environ.get("HTTP_TRACEPARENT")
        given = _TRACEPARENT.fullmatch(sent) if sent else None
        # Not a secret: no need to ask the system for randomness.
        trace = given[1] if given else f"{random.getrandbits(128):032x}"
        trace_id.set(trace)
        environ[CALLER] = given and given[0]
        if "CONTENT_LENGTH" in environ:
            # By its length a body is read once; by its end, twice, and each time the interpreter is handed over.
            environ.pop("wsgi.input_terminated", None)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            has = {name for name, _ in headers}
            headers += [header for header in _HEADERS if header[0] not in has]
            headers.append(("Trace-Id", trace))
            seconds = time.perf_counter() - began
            path = _tell(environ, int(status[:3]), seconds)
            if tracer is not None:
                _trace(tracer, environ, int(status[:3]), seconds, path, trace, given and given[0])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return application(environ, start)

    return answering


def _tell(environ: Environ, status: int, seconds: float) -> str:
    """The line has the path without the query: whatever a client puts there stays out of the log. Returns that path."""
    method = environ["REQUEST_METHOD"]
    # Flask's request, which it leaves here. The route, not the path: ids would make a time series of every pause.
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    count(method, "none" if rule is None else rule.rule, status, seconds)
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    path = _LINK.sub(r"\1…", _KEY.sub("hitl_…", path))
    found = {
        "method": method,
        "path": path,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "key": environ.get(KEY_ID),
    }
    log.info("request", extra=found)
    return path


def _trace(
    tracer: "Tracer", environ: Environ, status: int, seconds: float, path: str, trace: str, sent: str | None
) -> None:
    """One span, from the request's arrival to the beginning of its answer, as the log line and the metrics have it: of
    a held request the wait, of a stream what came before its first event."""
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
