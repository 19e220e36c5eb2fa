"""The HTTP server. `create_app` is the only entry point."""

from typing import Any

from flask import Flask
from jinja2 import StrictUndefined
from werkzeug.middleware.proxy_fix import ProxyFix

from app.deps import Deps
from app.http import problems
from app.http.json_body import MAX_BODY_BYTES
from app.http.middleware import with_request_log
from app.http.url_converters import TraceIdPart, WatchIdPart


class _Sagahold(Flask):
    def log_exception(self, *_: Any, **__: Any) -> None:
        """Log nothing, because Flask's line may contain a link's secret; `app.http.problems` logs errors."""


def create_app(deps: Deps) -> Flask:
    from app import doors
    from app.api.audit import audit
    from app.api.definitions import definitions
    from app.api.keys import keys
    from app.api.namespaces import namespaces
    from app.api.notifications import notifications
    from app.api.operations import operations
    from app.api.pauses import pauses
    from app.api.people import people
    from app.api.receipts import receipts
    from app.api.retention import retention
    from app.api.saga_steps import steps
    from app.api.sagas import sagas
    from app.api.webhooks import webhooks
    from app.dashboard.pages import dashboard
    from app.guide.page import guide
    from app.openapi.document import build_api
    from app.openapi.page import pages

    app = _Sagahold("sagahold", static_folder=None)
    app.extensions["sagahold"] = deps
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A reviewer may edit arguments as large as those that an agent may post.
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY_BYTES
    # A path with an extra slash is another path: a redirect would lose a POST's body or its key.
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.converters |= {"trace": TraceIdPart, "watch": WatchIdPart}
    # A value that a page does not pass is a bug, not an empty text.
    app.jinja_env.undefined = StrictUndefined
    app.wsgi_app = with_request_log(app.wsgi_app, deps.tracer)  # type: ignore[assignment, method-assign]
    if deps.proxies:
        # Only the address: scheme and host come from the public URL.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=deps.proxies, x_proto=0, x_host=0)  # type: ignore[method-assign]
    problems.install(app)
    api = build_api(app)
    resources = (pauses, sagas, steps, definitions, webhooks, notifications, namespaces, retention)
    for blueprint in (*resources, receipts, people, keys, audit, operations):
        api.register_blueprint(blueprint)
    app.register_blueprint(pages)
    app.register_blueprint(guide)
    app.register_blueprint(dashboard)
    doors.install(app)
    return app
