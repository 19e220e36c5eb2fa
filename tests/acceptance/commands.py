"""Ways for tests to run `sagahold`: as a process if that matters, else as a call in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SAGAHOLD = Path(sys.executable).with_name("sagahold")
DONE, REFUSED, WRONG = 0, 1, 2
END_SECONDS = 120.0


class Ran:
    """The result of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """Return the single line of a failure."""
        assert self.code != DONE, self.out
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("sagahold: ")
        return lines[0].removeprefix("sagahold: ")


def start(*args: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [SAGAHOLD, *args],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> Ran:
    out, err = process.communicate(timeout=END_SECONDS)
    return Ran(process.returncode, out, err)
