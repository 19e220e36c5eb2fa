"""Shared parts of every command that talks to a server: options, connection and output."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli.client import Failure, Server, ServerRefused, ServerResponse, open_server
from cli.views.output import console
from domain.identity.access import DEFAULT_NAMESPACE, Role

DATA_DIR = ".sagahold"
Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The server of one command, the role it acts in, and the output format."""

    server: Server
    role: Role
    as_json: bool

    def request(self, method: str, path: str, **request: Any) -> ServerResponse:
        """Call `Server.request` with the command's role."""
        return self.server.request(self.role, method, path, **request)

    def show(self, answer: ServerResponse, view: Callable[[Console, dict[str, Any]], None]) -> None:
        """Print the server's JSON for programs, or a view of it for people."""
        if self.as_json:
            click.echo(answer.text)
        else:
            view(console(), answer.document)


def command(group: click.Group | None, name: str, role: Role) -> Callable[[Command], click.Command]:
    """Make a function a command of `group`. Its first argument is a `CommandContext` with the key of `role`."""
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
    """Return --url, --data-dir and --json."""
    return [
        click.Option(["--url"], envvar=["SAGAHOLD_URL", "ENGINE_URL"], help="Use the server at this URL."),
        click.Option(
            ["--data-dir"],
            envvar="SAGAHOLD_DATA_DIR",
            default=DATA_DIR,
            show_default=True,
            type=click.Path(path_type=Path),
            help="Read the URL and keys that `sagahold up` wrote in this directory.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the server's JSON response."),
    ]


def page_options(function: Command) -> Command:
    """Add --limit and --cursor of a list."""
    cursor = click.option("--cursor", help="Continue after the previous page.")
    return click.option("--limit", type=int, help="List at most this many, 1 to 100 (default 50).")(cursor(function))


def output_option(function: Command) -> Command:
    """Add --output, the file to write to; passed as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write to this file (default: standard output).",
    )(function)


def deliver(text: str, output: Path | None) -> None:
    """Write the text to the file of `output_option`, or to standard output. Raise `Failure`."""
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot write {str(output)!r}: {error.strerror}") from None


def reach_option(function: Command) -> Command:
    """Add --namespace, the namespaces that a new key or person may access; passed as `namespaces`."""
    return click.option(
        "--namespace",
        "namespaces",
        multiple=True,
        default=(DEFAULT_NAMESPACE,),
        show_default=True,
        help="Give access to this namespace, * for all (repeatable).",
    )(function)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
