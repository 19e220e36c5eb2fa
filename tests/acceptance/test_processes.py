"""`sagahold web | worker | beat | release` with wrong input. That they work is what every stack shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.devstack.procfile import PROCFILE, read_procfile

SAGAHOLD = Path(sys.executable).parent / "sagahold"


def test_each_line_of_the_procfile_is_a_command() -> None:
    assert read_procfile(PROCFILE) == {name: f"sagahold {name}" for name in ("release", "web", "worker", "beat")}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("worker", "--queues", "sagas,mails"), "'mails' is no queue; queues are decisions,sagas,"),
        (("web",), "DATABASE_URL"),
        (("release",), "DATABASE_URL"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    ran = subprocess.run([SAGAHOLD, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
