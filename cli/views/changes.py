"""The changes of an edit, one by one, as the dashboard shows them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.session import CommandContext
from cli.views.output import clean, console, pretty_json
from domain.values.json_diff import Change, ChangeKind, differences
from domain.values.text_diff import Surroundings, places

INDENT = 2
# Changes shown of one edit.
MAX_CHANGES = 200

PREVIEW = click.option("--preview", is_flag=True, help="Show the changes without sending them.")


def print_changes(screen: Console, title: str, old: Any, new: Any, subject: str) -> bool:
    """Print the changes and return True, or return False if there are none. `subject` is the value's name."""
    changes = list(differences(old, new, subject))
    if not changes:
        return False
    screen.print(title, style="bold")
    for change in changes[:MAX_CHANGES]:
        _print(screen, change)
    if (left := len(changes) - MAX_CHANGES) > 0:
        screen.print(f"{left} more changes are not shown; read the whole value", style="yellow")
    return True


def print_edited(screen: Console, pause: dict[str, Any], subject: str) -> None:
    """Print the changes that reviewers have made so far."""
    if "postedArguments" in pause:
        posted = pause["postedArguments"]
        print_changes(screen, "\nEdited by reviewers", posted, pause["agentContext"]["arguments"], subject)


def show_edit(session: CommandContext, old: Any, new: Any, subject: str, *, preview: bool) -> None:
    """Print the changes before they are sent, or only the changes with `preview`.

    With --json, print them only with `preview`, because the output is the server's response.
    """
    if session.as_json:
        if preview:
            found = [_document(change) for change in differences(old, new, subject)]
            click.echo(json.dumps({"changes": found}, ensure_ascii=False))
    elif not print_changes(console(), "Changes", old, new, subject) and preview:
        console().print(f"{subject}: no changes")


def _document(change: Change) -> dict[str, Any]:
    retyped = None if change.retyped is None else list(change.retyped)
    return {"path": change.path, "kind": change.kind, "old": change.old, "new": change.new, "retyped": retyped}


def _print(screen: Console, change: Change) -> None:
    found = places(change.old, change.new)
    for place in found.shown:
        _place(screen, Text(clean(change.path)).append(f", line {place.line}", style="dim"))
        _sides(screen, [("-", _passage(place.old, "red", "[-", "-]")), ("+", _passage(place.new, "green", "{+", "+}"))])
    if found.left_out:
        _place(
            screen, Text(f"{found.left_out} more changes in {clean(change.path)} are not shown; read the whole value")
        )
    if not found.shown:
        _place(screen, _where(change))
        _sides(screen, list(_values(change)))


def _where(change: Change) -> Text:
    where = Text(clean(change.path))
    if change.retyped is not None:
        return where.append(f", type changes: {' → '.join(change.retyped)}", style="bold yellow")
    return where if change.kind is ChangeKind.CHANGED else where.append(f", {change.kind}", style="dim")


def _values(change: Change) -> Iterator[tuple[str, Text]]:
    if change.kind is not ChangeKind.ADDED:
        yield "-", _value(change.old, "red")
    if change.kind is not ChangeKind.REMOVED:
        yield "+", _value(change.new, "green")


def _value(value: Any, style: str) -> Text:
    """Return the value as JSON, whose quotes distinguish a string from a number."""
    shown = pretty_json(value)
    shown.stylize(style)
    return shown


def _passage(side: Surroundings, style: str, opens: str, closes: str) -> Text:
    """Mark a change as `git diff --word-diff` does, for pipes and readers without colours."""
    shown = Text("…" if side.leads else "").append(clean(side.before, lines=True), style="dim")
    shown.append(f"{opens}{clean(side.text, lines=True)}{closes}", style=f"bold {style}")
    return shown.append(clean(side.after, lines=True), style="dim").append("…" if side.trails else "")


def _place(screen: Console, where: Text) -> None:
    where.overflow = "fold"
    screen.print(Padding.indent(where, INDENT))


def _sides(screen: Console, sides: Sequence[tuple[str, Text]]) -> None:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for sign, value in sides:
        value.overflow = "fold"
        grid.add_row(sign, value)
    screen.print(Padding.indent(grid, 2 * INDENT))
