"""One log line a request, and the trace id that ties it to everything else logged on its behalf.

The line has the route and the path without the query: whatever a client puts there stays out of the log.
"""

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from adapters.logs import trace_id

log = logging.getLogger("sagahold.request")

# W3C Trace Context: version, trace id, parent id, flags.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

# A key that somebody put into the path: it must not get into the log.
_KEY = re.compile(r"hitl_[A-Za-z0-9_-]{8,}")


def install(app: Flask) -> None:
    @app.before_request
    def _begin() -> None:
        began = time.perf_counter()
        g.elapsed = lambda: time.perf_counter() - began
        given = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
        trace_id.set(given[1] if given else secrets.token_hex(16))

    @app.after_request
    def _end(response: Response) -> Response:
        found = {
            "method": request.method,
            "path": _KEY.sub("hitl_…", request.path),
            "status": response.status_code,
            "ms": round(g.elapsed() * 1000, 1),
            "key": g.principal.id if "principal" in g else None,
        }
        log.info("request", extra=found)
        response.headers["Trace-Id"] = trace_id.get() or ""
        return response
