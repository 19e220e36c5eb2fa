"""A web process on its own: what it says when it starts, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# As granian's worker ends: by multiprocessing's own end, without atexit.
PROGRAM = """
import logging, os
from multiprocessing import util
from adapters.notify.channel import Messenger
from adapters.redis.publisher import PublisherThread

def broken(self):
    raise BrokenPipeError("the queue is gone")

PublisherThread.close = broken
closed = Messenger.close
Messenger.close = lambda self: (closed(self), logging.getLogger("end").info("messages are closed"))
import wsgi
logging.getLogger("end").info("the last request")
util._exit_function()
os._exit(0)
"""


@pytest.fixture(scope="module")
def said() -> str:
    """The log of one that cannot close one of its parts, and that listens on all addresses."""
    servers = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}
    environ = os.environ | servers | {"SAGAHOLD_HOST": "0.0.0.0"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


def test_a_part_that_cannot_be_closed_keeps_no_other_from_it(said: str) -> None:
    """The lines of the log are written, with the reason."""
    for words in ("the last request", "messages are closed", "the queue is gone"):
        assert words in said


def test_a_server_for_others_without_a_public_url_warns_of_its_links(said: str) -> None:
    assert "links begin with http://127.0.0.1:8000: set SAGAHOLD_PUBLIC_URL" in said


# Two of them start at once, and end when the key of receipts is there.
STARTS = """
import os, threading
import wsgi
[each.join(90) for each in threading.enumerate() if each.name == "receipt key"]
os._exit(0)
"""


def test_the_first_start_makes_one_key_of_receipts(database_url: str, tmp_path: Path) -> None:
    secret = "passphrase-" * 4
    environ = os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1",
        "SAGAHOLD_ENCRYPTION_KEY": secret,
        "SAGAHOLD_RECEIPT_KEYS_DIR": str(tmp_path),
    }
    program = [sys.executable, "-c", STARTS]
    running = [
        subprocess.Popen(program, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for each in running:
        out, err = each.communicate(timeout=120)
        assert each.returncode == 0, err
        assert secret not in out + err
        assert "PRIVATE KEY" not in out + err
    (file,) = tmp_path.iterdir()
    assert file.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
