"""`sagahold doctor`: checks of the installation, with a fix for each failure."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import click
from rich.text import Text

from cli.client import Failure
from cli.doctor.check import Check
from cli.doctor.here import checks_here
from cli.doctor.server import checks_of_server
from cli.session import server_options
from cli.views.output import clean, console

MARKS = {True: ("✔", "green"), False: ("✘", "red"), None: ("–", "dim")}


@click.command(params=server_options())
def doctor(url: str | None, data_dir: Path, as_json: bool) -> None:
    """Check the installation and say how to fix each problem.

    If DATABASE_URL and REDIS_URL are set, check those servers too. Exit with status 1 if a check fails.
    """
    found = shown(chain(checks_here(os.environ, data_dir), checks_of_server(url, data_dir)), as_json)
    wrong = sum(check.good is False for check in found)
    if wrong:
        raise Failure(f"{wrong} of {len(found)} checks failed")


def shown(found: Iterator[Check], as_json: bool) -> list[Check]:
    """Print each check as soon as it is done, because some take seconds."""
    if as_json:
        listed = list(found)
        click.echo(json.dumps([asdict(check) for check in listed], ensure_ascii=False))
        return listed
    screen = console()
    listed = []
    for check in found:
        mark, style = MARKS[check.good]
        line = Text(f"{mark} ", style=style).append(f"{check.name:<12}", style="default bold")
        screen.print(line.append(clean(check.said), style="default"), soft_wrap=True)
        listed.append(check)
    return listed
