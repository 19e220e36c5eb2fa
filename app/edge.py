"""Flask, without what nothing here uses and each request would pay for all the same: half of its way through Flask."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter

from app.answer import Answer


class _NoSession(SessionInterface):
    """People's sessions are rows (services.sessions); one of Flask's would be a cookie."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


class Edge(Flask):
    session_interface = _NoSession()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """A request's host has no say in its route: it is not encoded and taken apart."""
        if request is None:
            return super().create_url_adapter(request)
        environ = request.environ
        root, scheme, query = environ["SCRIPT_NAME"], environ["wsgi.url_scheme"], environ["QUERY_STRING"]
        return MapAdapter(self.url_map, request.host, root, "", scheme, request.path, request.method, query)

    def full_dispatch_request(self) -> Response | Answer:  # type: ignore[override]
        """Nothing is registered to run before or after a request, and nobody listens to Flask's signals."""
        try:
            return self.make_response(self.dispatch_request())
        except Exception as error:
            return self.make_response(self.handle_user_exception(error))

    def make_response(self, rv: Any) -> Response | Answer:  # type: ignore[override]
        return rv if isinstance(rv, Answer) else super().make_response(rv)

    def do_teardown_request(self, *_: Any) -> None:
        """Nothing is registered to run then."""

    def do_teardown_appcontext(self, *_: Any) -> None:
        """Nothing is registered to run then."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Nothing here is a coroutine; Flask would ask that of each function that a request goes through."""
        return func
