"""The page of the command line, from the help of each command."""

from collections.abc import Iterator

import click

from cli.main import sagahold


def pages() -> dict[str, str]:
    """Return the Markdown of the page by its name."""
    lines = ["# Command line", "", "The command `sagahold`, as `--help` describes it.", ""]
    with _context(sagahold, "sagahold", None) as context:
        lines += _command(sagahold, context)
    return {"commands.md": "\n".join(lines)}


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from (f"## {context.command_path}", "", "```text", command.get_help(context).rstrip(), "```", "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                with _context(inner, name, context) as below:
                    yield from _command(inner, below)


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    settings = {"terminal_width": 80, **command.context_settings}
    return click.Context(command, info_name=name, parent=parent, **settings)
