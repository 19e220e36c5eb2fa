"""What every command that talks to a server has in common: its options, its server, its output."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli.client import Server, ServerRefused, ServerResponse, open_server
from cli.views.output import console
from domain.identity.access import DEFAULT_NAMESPACE, Role

DATA_DIR = ".sagahold"
Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class CommandContext:
    """A server, the role in which it is asked, and how answers are shown."""

    server: Server
    role: Role
    as_json: bool

    def ask(self, method: str, path: str, **request: Any) -> ServerResponse:
        """As `Server.ask`."""
        return self.server.ask(self.role, method, path, **request)

    def show(self, answer: ServerResponse, view: Callable[[Console, dict[str, Any]], None]) -> None:
        """The server's own JSON for programs, a view of it for people."""
        if self.as_json:
            click.echo(answer.text)
        else:
            view(console(), answer.document)


def command(group: click.Group | None, name: str, role: Role) -> Callable[[Command], click.Command]:
    """A command (of `group`) that gets a `CommandContext` first, with the key of `role`."""
    make = group.command if group else click.command

    def decorate(function: Command) -> click.Command:
        @wraps(function)
        def run(url: str | None, data_dir: Path, as_json: bool, **options: Any) -> None:
            with open_server(url, data_dir) as server:
                try:
                    function(CommandContext(server, role, as_json), **options)
                except ServerRefused as refused:
                    if as_json:
                        click.echo(refused.body)
                    raise

        made = make(name)(run)
        made.params.extend(server_options())
        return made

    return decorate


def server_options() -> list[click.Parameter]:
    """--url, --data-dir and --json."""
    return [
        click.Option(["--url"], envvar=["SAGAHOLD_URL", "ENGINE_URL"], help="The server; else the one of --data-dir."),
        click.Option(
            ["--data-dir"],
            envvar="SAGAHOLD_DATA_DIR",
            default=DATA_DIR,
            show_default=True,
            type=click.Path(path_type=Path),
            help="Where `sagahold up` keeps its URL and keys.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="For programs: JSON, just as the server answers."),
    ]


def page_options(function: Command) -> Command:
    """--limit and --cursor of a list."""
    cursor = click.option("--cursor", help="Go on where the page before ended.")
    return click.option("--limit", type=int, help="At most this many, 1 to 100; default 50.")(cursor(function))


def reach_option(function: Command) -> Command:
    """--namespace of whom or what an admin makes; as `namespaces`."""
    return click.option(
        "--namespace",
        "namespaces",
        multiple=True,
        default=(DEFAULT_NAMESPACE,),
        show_default=True,
        help="May be given several times; * is all of them.",
    )(function)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
