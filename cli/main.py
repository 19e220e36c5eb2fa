"""The command `sagahold`. Each command is imported on use, so a client command loads no database driver."""

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from domain.values.version import VERSION

COMMANDS = {
    "up": "cli.commands.up",
    "init": "cli.commands.init",
    "demo": "cli.demo",
    "examples": "cli.commands.examples",
    "doctor": "cli.doctor",
    "web": "cli.commands.processes",
    "worker": "cli.commands.processes",
    "beat": "cli.commands.processes",
    "release": "cli.commands.processes",
    "backup": "cli.commands.backup",
    "restore": "cli.commands.restore",
    "resume": "cli.commands.restore",
    "version": "cli.commands.version",
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
    "mcp": "cli.commands.mcp",
    "receipt": "cli.commands.receipt",
    "audit": "cli.commands.audit",
    "evidence": "cli.commands.evidence",
    "retention": "cli.commands.retention",
    "hold": "cli.commands.holds",
    "ask": "cli.commands.ask",
    "hook": "cli.hook",
}
# Options of commands, not of `sagahold` itself; people put them first because other tools expect that.
COMMAND_OPTIONS = ("--url", "--data-dir", "--json")
# The status that a shell reports for a command ended by Ctrl-C.
INTERRUPTED = 130


class _Sagahold(click.Group):
    """The command group that imports a command on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_Sagahold, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="sagahold %(version)s")
def sagahold() -> None:
    """Hold an agent's risky action until a human has decided on it.

    Commands find the server by --url (after the command), by SAGAHOLD_URL or in .sagahold/credentials.json. `sagahold
    up` writes that file. The key is SAGAHOLD_API_KEY, or the file's key for the command's role.
    """


def main() -> NoReturn:
    """Run the command line. An error is one line on stderr.

    Exit status 0 means done, 1 refused or failed, 2 wrong usage or no server.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without a character shows a question mark instead of a traceback.
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
        # For example a full disk. Without stdout, the interpreter does not write the rest again on exit.
        sys.stdout = None
        click.echo(f"sagahold: {error.filename or 'cannot write'}: {error.strerror or error}", err=True)
        sys.exit(1)
    except click.Abort:
        click.echo("sagahold: interrupted", err=True)
        sys.exit(INTERRUPTED)


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption) and error.option_name in COMMAND_OPTIONS and error.ctx is not None:
        path = error.ctx.command_path
        return f"{error.option_name} goes after the command: `{path} COMMAND {error.option_name} …`"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message.rstrip('.')} (see `{error.ctx.command_path} --help`)"
    return message
