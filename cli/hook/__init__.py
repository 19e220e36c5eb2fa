"""`sagahold hook …`: hold the tool calls of Claude Code, or any command."""

from importlib import import_module

import click

COMMANDS = {
    "claude": ("cli.hook.claude", "claude"),
    "install": ("cli.hook.install", "install"),
    "doctor": ("cli.hook.checks", "doctor"),
    "exec": ("cli.hook.execute", "exec_"),
}


class _Hook(click.Group):
    """The group that imports a command on use, because a hook runs for every tool call."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Hook)
def hook() -> None:
    """Hold tool calls and commands until a person has decided."""
