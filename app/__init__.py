"""The HTTP edge. `create_app` is the only way in."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response

from app import metrics, problems, request_log
from app.deps import Deps

MAX_BODY_BYTES = 1024 * 1024


def create_app(deps: Deps) -> Flask:
    from app.api.keys import keys
    from app.api.operations import operations
    from app.api.pauses import pauses
    from app.api.webhooks import webhooks
    from app.openapi import build_api
    from app.pages import pages

    app = _Synchronous("sagahold", static_folder=None)
    app.extensions["sagahold"] = deps
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A slash more or less is another path: a redirect would lose a POST's body or its key.
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    request_log.install(app)
    metrics.count(app)
    app.after_request(_secure)
    problems.install(app)
    api = build_api(app)
    for blueprint in (pauses, webhooks, keys, operations):
        api.register_blueprint(blueprint)
    app.register_blueprint(pages)
    return app


class _Synchronous(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Nothing here is a coroutine; Flask would ask that of each function that a request goes through."""
        return func


def _secure(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Cache-Control", "no-store")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response
