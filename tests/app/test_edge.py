"""What the edge leaves out of Flask is asked for by nothing here."""

from dataclasses import fields
from typing import Any, cast

import flask.signals
import pytest
from flask import Flask

from app import create_app
from app.deps import Deps
from app.edge import Edge

HOOKS = (
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "teardown_appcontext_funcs",
    "url_value_preprocessors",
)
SIGNALS = (
    "request_started",
    "request_finished",
    "request_tearing_down",
    "appcontext_tearing_down",
)


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(Deps(*cast(Any, [None] * len(fields(Deps)))))


@pytest.mark.parametrize("name", HOOKS)
def test_nothing_is_registered_around_requests(app: Flask, name: str) -> None:
    """It would never run: what every request needs goes into app/every_answer.py."""
    assert isinstance(app, Edge)
    assert not getattr(app, name), f"app/edge.py does not run {name}"


@pytest.mark.parametrize("name", SIGNALS)
def test_nobody_listens_to_signals_that_are_not_sent(app: Flask, name: str) -> None:
    assert not getattr(flask.signals, name).receivers


def test_the_hooks_are_those_of_flask() -> None:
    """None that a newer Flask runs around a request is missing above."""
    known = {name for name in vars(Flask("any")) if name.endswith(("_funcs", "_preprocessors"))}
    assert known == set(HOOKS)


def test_a_session_of_flasks_is_refused(app: Flask) -> None:
    """In words, where somebody tries to use one."""
    with app.test_request_context("/"), pytest.raises(RuntimeError, match="secret key"):
        flask.session["person"] = "ana"
