"""The Procfile: which processes there are and how each is started."""

import re
from pathlib import Path

from cli.devstack.errors import StackError

# Beside the packages: the commands in it name files relative to that directory.
PROCFILE = Path(__file__).parents[2] / "Procfile"
LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read_procfile(path: Path) -> dict[str, str]:
    """Name → shell command, in the file's order."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise StackError(f"there is no {path}: run `sagahold up` from an installation of the source tree") from None
    commands: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if found is None or found[1] in commands:
            raise StackError(f"{path}, line {number}: expected `name: command` with a name of its own, found {line!r}")
        commands[found[1]] = found[2]
    return commands


def shell_command(command: str) -> tuple[str, ...]:
    """`exec`: the shell makes way for the program, so that a signal to the process reaches it."""
    return ("sh", "-c", f"exec {command}")
