"""A web process that ends closes its parts and writes its log, whatever one of them does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As granian's worker ends: by multiprocessing's own end, without atexit.
PROGRAM = """
import logging, os
from multiprocessing import util
from adapters.notify import Messenger
from adapters.signals import SignalThread

def broken(self):
    raise BrokenPipeError("the queue is gone")

SignalThread.close = broken
closed = Messenger.close
Messenger.close = lambda self: (closed(self), logging.getLogger("end").info("messages are closed"))
import wsgi
logging.getLogger("end").info("the last request")
util._exit_function()
os._exit(0)
"""


def test_a_part_that_cannot_be_closed_keeps_no_other_from_it() -> None:
    """The lines of the log are written, with the reason."""
    servers = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=os.environ | servers, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    for said in ("the last request", "messages are closed", "the queue is gone"):
        assert said in ran.stderr
