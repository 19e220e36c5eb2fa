"""Logs: one JSON object a line, whatever is in it."""

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from adapters.logs import Gathering, log_as_json, tell, trace_id

log = logging.getLogger("test.logs")


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # A test in which a request was answered leaves its trace behind.
    token = trace_id.set(None)
    yield
    trace_id.reset(token)
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


def test_the_short_way_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a request's line, under the same levels."""
    log_as_json("INFO")
    found = {"path": "/api/pause", "status": 201, "key": None}
    log.info("request", extra=found)
    tell(log, "request", found)
    logging.getLogger().setLevel("WARNING")
    tell(log, "not this", found)
    logging.getLogger().handlers[0].flush()
    long, short = map(json.loads, capsys.readouterr().err.splitlines())
    assert long | {"time": ""} == short | {"time": ""}
    assert long["time"] <= short["time"]


def test_the_short_way_reaches_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().handlers[:] = [caplog.handler]
    logging.getLogger().setLevel("INFO")
    tell(log, "request", {"status": 201})
    assert [(record.message, vars(record)["status"]) for record in caplog.records] == [("request", 201)]


def test_set_up_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    log_as_json("INFO")
    log_as_json("INFO")
    log.warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


class Slow(io.StringIO):
    """Says when it was written to, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()
        self.writes = 0

    def write(self, text: str) -> int:
        count = super().write(text)
        self.writes += 1
        self.written.set()
        return count


def test_good_news_is_written_together() -> None:
    """Soon, in order, and with fewer writes than lines."""
    stream = Slow()
    handler = Gathering(stream)
    for number in range(100):
        handler.handle(logging.makeLogRecord({"msg": f"line {number}", "levelno": logging.INFO}))
    assert stream.written.wait(10)
    handler.flush()
    assert stream.getvalue().splitlines() == [f"line {number}" for number in range(100)]
    assert stream.writes < 100


def test_bad_news_is_written_at_once_after_what_came_before() -> None:
    stream = Slow()
    handler = Gathering(stream)
    handler.handle(logging.makeLogRecord({"msg": "before", "levelno": logging.INFO}))
    handler.handle(logging.makeLogRecord({"msg": "warning", "levelno": logging.WARNING}))
    assert stream.getvalue() == "before\nwarning\n"


def test_no_line_is_lost_between_threads() -> None:
    """Of many that write at once, while others flush."""
    stream = Slow()
    handler = Gathering(stream)

    def write(who: int) -> None:
        for number in range(200):
            level = logging.WARNING if number % 10 == 0 else logging.INFO
            handler.handle(logging.makeLogRecord({"msg": f"{who} {number}", "levelno": level}))

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    handler.flush()
    assert sorted(stream.getvalue().splitlines()) == sorted(
        f"{who} {number}" for who in range(8) for number in range(200)
    )
