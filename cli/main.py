"""The command `sagahold`. Commands are imported when they are used: asking a server needs no database driver."""

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

COMMANDS = {
    "up": "cli.commands.up",
    "init": "cli.commands.init",
    "demo": "cli.demo",
    "doctor": "cli.doctor",
    "ping": "cli.commands.ping",
    "pause": "cli.commands.pause",
    "namespace": "cli.commands.namespace",
    "deploy": "cli.commands.deploy",
    "start": "cli.commands.start",
    "list": "cli.commands.lists",
    "show": "cli.commands.show",
    "review": "cli.commands.review",
    "saga": "cli.commands.saga",
    "keys": "cli.commands.keys",
    "people": "cli.commands.people",
    "groups": "cli.commands.groups",
    "webhooks": "cli.commands.webhooks",
    "notifications": "cli.commands.notifications",
    "audit": "cli.commands.audit",
}
# Options of every command that asks a server; people write them first, as other tools want it.
OF_COMMANDS = ("--url", "--data-dir", "--json")
# What a shell reports for a command that Ctrl-C ended.
INTERRUPTED = 130


class _Sagahold(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_Sagahold, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sagahold", message="%(package)s %(version)s")
def sagahold() -> None:
    """Hold an agent's risky action until a human has decided on it.

    The server is found by --url (behind the command), SAGAHOLD_URL or what `sagahold up` wrote in
    .sagahold/credentials.json; the key is SAGAHOLD_API_KEY, or the fitting one of that file.
    """


def main() -> NoReturn:
    """Exit status 0: done; 1: refused or failed; 2: wrong use, or no server there. Errors are one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark, not a traceback.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(sagahold.main(prog_name="sagahold", standalone_mode=False))
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"sagahold: {_one_line(error)}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # Of what is written to a full disk, for instance. Nothing is left to be written once more at the end.
        sys.stdout = None
        click.echo(f"sagahold: {error.filename or 'cannot write'}: {error.strerror or error}", err=True)
        sys.exit(1)
    except click.Abort:
        click.echo("sagahold: interrupted", err=True)
        sys.exit(INTERRUPTED)


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption) and error.option_name in OF_COMMANDS and error.ctx is not None:
        path = error.ctx.command_path
        return f"{error.option_name} stands behind the command: `{path} COMMAND {error.option_name} …`"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message.rstrip('.')} (see `{error.ctx.command_path} --help`)"
    return message
