"""The Procfile: the processes and their commands."""

import re
from pathlib import Path

from cli.devstack.errors import StackError

# It lies beside the packages, because its commands name files relative to that directory.
PROCFILE = Path(__file__).parents[2] / "Procfile"
LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read_procfile(path: Path) -> dict[str, str]:
    """Return the shell command of each process name, in the file's order."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise StackError(f"{path} does not exist: run `sagahold up` from an installation of the source tree") from None
    commands: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if found is None or found[1] in commands:
            raise StackError(f"{path}, line {number}: expected `name: command` with a unique name, found {line!r}")
        commands[found[1]] = found[2]
    return commands


def shell_command(command: str) -> tuple[str, ...]:
    """Return the command with `exec`, which replaces the shell, so that a signal to the process reaches the program."""
    return ("sh", "-c", f"exec {command}")
