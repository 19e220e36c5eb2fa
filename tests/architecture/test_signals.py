"""Tests are the same in the foreground of a terminal and in the background of a shell."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# How a process started by a test handles the signals, when the shell that started the tests ignored them.
ASK = """
import signal, subprocess, sys
import tests.conftest
asked = "import signal; print(*(signal.getsignal(each) is signal.SIG_IGN for each in (1, 2, 3, 15)))"
subprocess.run([sys.executable, "-c", asked], check=True)
"""


def test_no_process_of_a_test_inherits_an_ignored_signal() -> None:
    """Ctrl-C of a process that a test starts would do nothing, and the test would wait for it in vain."""
    in_background = ['trap "" HUP INT QUIT TERM; exec "$@"', "sh", sys.executable, "-c", ASK]
    asked = subprocess.run(["sh", "-c", *in_background], cwd=ROOT, capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["False"] * 4
