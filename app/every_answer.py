"""What every answer gets, whatever made it: default headers, a trace id, one line in the log, a place in the metrics.

WSGI middleware, not Flask's hooks: it also sees what Flask itself refuses, and takes a third of the time.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from adapters.logs import tell, trace_id
from app.metrics import count

log = logging.getLogger("sagahold.request")

# W3C Trace Context: version, trace id, parent id, flags.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
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

# Under this name in the environment of a request: the id of the key that it came with.
KEY_ID = "sagahold.key_id"

Environ = dict[str, Any]


def every_answer(application: Callable[[Environ, Any], Iterable[bytes]]) -> Callable[[Environ, Any], Iterable[bytes]]:
    def answering(environ: Environ, start_response: Any) -> Iterable[bytes]:
        began = time.perf_counter()
        sent = environ.get("HTTP_TRACEPARENT")
        given = _TRACEPARENT.fullmatch(sent) if sent else None
        # Not a secret: no need to ask the system for randomness.
        trace = given[1] if given else f"{random.getrandbits(128):032x}"
        trace_id.set(trace)
        if "CONTENT_LENGTH" in environ:
            # By its length a body is read once; by its end, twice, and each time the interpreter is handed over.
            environ.pop("wsgi.input_terminated", None)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            has = {name for name, _ in headers}
            headers += [header for header in _HEADERS if header[0] not in has]
            headers.append(("Trace-Id", trace))
            _tell(environ, int(status[:3]), time.perf_counter() - began)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return application(environ, start)

    return answering


def _tell(environ: Environ, status: int, seconds: float) -> None:
    """The line has the route and the path without the query: whatever a client puts there stays out of the log."""
    method = environ["REQUEST_METHOD"]
    # Flask's request, which it leaves here. The route, not the path: ids would make a time series of every pause.
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    count(method, "none" if rule is None else rule.rule, status, seconds)
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    found = {
        "method": method,
        "path": _LINK.sub(r"\1…", _KEY.sub("hitl_…", path)),
        "status": status,
        "ms": round(seconds * 1000, 1),
        "key": environ.get(KEY_ID),
    }
    tell(log, "request", found)
