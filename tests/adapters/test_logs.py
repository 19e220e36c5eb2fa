"""Logs: one JSON object a line, whatever is in it."""

import json
import logging
from collections.abc import Iterator

import pytest

from adapters.logs import log_as_json, trace_id

log = logging.getLogger("test.logs")


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With time, level, logger, what was added, and the exception, newlines and all."""
    log_as_json("INFO")
    log.info("two\nlines of %s", "text 😀", extra={"delivery_id": "dlv_1"})
    log.debug("not this")
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["message"] == "two\nlines of text 😀"
    assert (first["level"], first["logger"], first["delivery_id"]) == ("INFO", "test.logs", "dlv_1")
    assert first["time"][10] == "T"
    assert "trace_id" not in first
    assert "ValueError: bad" in second["exc_info"]


def test_the_trace_of_the_request_is_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    """While there is one."""
    log_as_json("WARNING")
    token = trace_id.set("abc")
    log.warning("within")
    trace_id.reset(token)
    log.warning("after")
    within, after = map(json.loads, capsys.readouterr().err.splitlines())
    assert within["trace_id"] == "abc"
    assert "trace_id" not in after


def test_set_up_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    log_as_json("INFO")
    log_as_json("INFO")
    log.info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
