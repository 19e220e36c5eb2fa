"""Logs: one JSON object a line, whatever is in it."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.process.logs import log_as_json, trace_id

ROOT = Path(__file__).parents[3]
log = logging.getLogger("test.logs")


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    for handler in logging.getLogger().handlers:
        handler.flush()
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    # A test in which a request was answered leaves its trace behind.
    token = trace_id.set(None)
    yield
    trace_id.reset(token)
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    logging.captureWarnings(capture=False)


def test_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With time, level, logger, what was added, and the exception, newlines and all."""
    log_as_json("INFO")
    log.info("two\nlines of %s", "text 😀", extra={"delivery_id": "dlv_1"})
    log.debug("not this")
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed")
    first, second = written(capsys)
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
    within, after = written(capsys)
    assert within["trace_id"] == "abc"
    assert "trace_id" not in after


def test_set_up_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    log_as_json("INFO")
    log_as_json("INFO")
    log.warning("once")
    assert len(written(capsys)) == 1


def test_other_handlers_see_whole_records(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """A monitoring agent's handler beside ours reads where a record was made, and its arguments."""
    log_as_json("INFO")
    logging.getLogger().addHandler(caplog.handler)
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed: %s", "here")
    (record,) = caplog.records
    assert (record.msg, record.args, record.filename) == ("failed: %s", ("here",), "test_logs.py")
    assert (record.funcName, record.threadName) == ("test_other_handlers_see_whole_records", "MainThread")
    assert record.process is not None
    assert record.exc_info is not None
    (line,) = written(capsys)
    assert line["message"] == "failed: here"


ENDS = """
import logging, sys, threading
from adapters.process.logs import log_as_json

log_as_json("INFO")
log = logging.getLogger("any")
threads = [
    threading.Thread(target=lambda who=who: [log.info("%d %d", who, number) for number in range(500)])
    for who in range(8)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
log.info("last")
ENDING
"""


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("sys.exit(3)", id="exit"),
        pytest.param("raise SystemError", id="exception"),
        # As a process of the web server ends, which runs no `atexit`.
        pytest.param("import os; logging.shutdown(); os._exit(3)", id="shutdown"),
    ],
)
def test_no_line_is_lost_at_the_end_of_a_process(ending: str) -> None:
    """Each once, those of one thread in their order."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS.replace("ENDING", ending)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (1, 3)
    said = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    if done.returncode == 1:
        assert said.pop() == "nothing caught this exception"
    assert said[-1] == "last"
    for who in range(8):
        assert [line for line in said if line.startswith(f"{who} ")] == [f"{who} {number}" for number in range(500)]
    assert len(said) == 8 * 500 + 1


RAISES = """
import threading, warnings
from adapters.process.logs import log_as_json

log_as_json("INFO")

class Ends:
    def __del__(self):
        raise ValueError("while it is deleted")

def fails():
    raise ValueError("in a thread")

for target in (fails, exit):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
Ends()
warnings.warn("old")
raise ValueError("at the end")
"""


def test_what_python_prints_is_a_line_too() -> None:
    """An exception that nothing caught, wherever it was raised, and a warning."""
    done = subprocess.run([sys.executable, "-c", RAISES], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    thread, deleted, warning, last = map(json.loads, done.stderr.splitlines())
    for line, said in ((thread, "in a thread"), (deleted, "while it is deleted"), (last, "at the end")):
        assert (line["level"], line["logger"]) == ("CRITICAL", "adapters.process.logs")
        assert line["exc_info"].endswith(f"ValueError: {said}")
    assert (warning["level"], warning["logger"]) == ("WARNING", "py.warnings")
    assert "UserWarning: old" in warning["message"]
