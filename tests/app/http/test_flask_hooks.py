"""Flask's hooks and signals run for each request: monitoring agents and Flask's extensions build on them."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from typing import Any, cast

import pytest
from flask import Flask, Response, request, signals

from app import create_app
from app.dashboard.framework.cookies import SESSION
from app.deps import Deps
from services.kernel.unit_of_work import Database

SECRET = "secret-of-a-link"
# A view that answers, and one that fails: no database is behind.
API, API_FAILS = "/healthz", "/readyz"
PAGE, PAGE_FAILS = "/sign-in", f"/r/{SECRET}"


@pytest.fixture
def app() -> Flask:
    none = cast(Any, None)
    alone: dict[str, Any] = dict.fromkeys(field.name for field in fields(Deps))
    alone |= {"database": Database(none, none, "http://127.0.0.1"), "proxies": 0}
    return create_app(Deps(**alone))


@pytest.fixture
def seen(app: Flask) -> Iterator[list[str]]:
    """The hooks that ran around the requests, in order."""
    seen: list[str] = []

    def note(name: str) -> Any:
        return lambda *_, **__: seen.append(name)

    def after(response: Response) -> Response:
        seen.append(f"after {response.status_code}")
        response.headers["X-Seen"] = request.path
        return response

    app.before_request(lambda: seen.append("before"))
    app.after_request(after)
    app.teardown_request(note("teardown request"))
    app.teardown_appcontext(note("teardown context"))
    with ExitStack() as stack:
        for name in ("request_started", "request_finished", "got_request_exception", "request_tearing_down"):
            stack.enter_context(getattr(signals, name).connected_to(note(name), app))
        yield seen


ENDS = ["teardown request", "request_tearing_down", "teardown context"]


@pytest.mark.parametrize("path", [API, PAGE])
def test_hooks_and_signals_run_around_a_request(app: Flask, seen: list[str], path: str) -> None:
    answer = app.test_client().get(path)
    assert seen == ["request_started", "before", "after 200", "request_finished", *ENDS]
    assert (answer.status_code, answer.headers["X-Seen"]) == (200, path)


@pytest.mark.parametrize("path", ["/api/pause", "/api/nothing"])
def test_a_refused_request_is_no_exception(app: Flask, seen: list[str], path: str) -> None:
    answer = app.test_client().get(path)
    assert answer.status_code in (401, 404)
    assert answer.content_type == "application/problem+json"
    assert seen == ["request_started", "before", f"after {answer.status_code}", "request_finished", *ENDS]


@pytest.mark.parametrize("path", [API_FAILS, PAGE_FAILS])
def test_an_unexpected_error_is_signalled_and_logged_once(
    app: Flask, seen: list[str], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback, and without the path, which may hold the secret of a link."""
    with caplog.at_level(logging.INFO):
        answer = app.test_client().get(path, headers={"Cookie": f"{SESSION}=x"})
    assert answer.status_code == 500
    assert seen == ["request_started", "before", "got_request_exception", "after 500", "request_finished", *ENDS]
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert error.getMessage() == "unexpected error"
    assert error.exc_info is not None
    assert error.exc_info[0] is AttributeError
    assert SECRET not in caplog.text


def test_a_hook_may_answer(app: Flask, seen: list[str]) -> None:
    app.before_request(lambda: ("closed for today", 503))
    answer = app.test_client().get(API)
    assert (answer.status_code, answer.text) == (503, "closed for today")
    assert "after 503" in seen
