"""The processes' commands, read as the command line reads them."""

from collections.abc import Sequence
from typing import Any

from cli.commands.processes import beat, release, web, worker

COMMANDS = {"web": web, "worker": worker, "beat": beat, "release": release}


def parsed(process: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the values of its options. Raises `click.UsageError` for a wrong one."""
    return COMMANDS[process].make_context(process, list(words)).params
