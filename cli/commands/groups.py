"""`sagahold groups …`: groups of people that approval policies name."""

from typing import Any

import click
from rich.console import Console

from cli.client import Failure, ServerRefused, part
from cli.session import CommandContext, command, given
from cli.views.output import clean, page, short, table
from domain.identity.access import Role

PATH = "/v1/groups"
EXISTS = "GROUP_EXISTS"
NAME = click.argument("name")
DESCRIPTION = click.option("--description", help="Describe the group for people.")
CHANNELS = click.option(
    "--channel", "channels", multiple=True, help="Notify the group at this Apprise URL (repeatable)."
)


@click.group()
def groups() -> None:
    """Create, change and delete groups.

    Add people to a group with `sagahold people change`.
    """


@command(groups, "list", Role.ADMIN)
def list_(session: CommandContext) -> None:
    """List all groups by name."""
    session.show(session.request("GET", PATH), _list)


@command(groups, "create", Role.ADMIN)
@NAME
@DESCRIPTION
@CHANNELS
def create(session: CommandContext, name: str, **options: Any) -> None:
    """Create the group NAME."""
    try:
        made = session.request("PUT", f"{PATH}/{part(name)}", query={"new": "true"}, body=_body(**options))
    except ServerRefused as refused:
        if refused.problem.get("code") != EXISTS:
            raise
        raise Failure(f"the group {clean(name)} exists: use `sagahold groups change {clean(name)}`") from None
    session.show(made, _done("is created"))


@command(groups, "change", Role.ADMIN)
@NAME
@DESCRIPTION
@CHANNELS
@click.option("--no-channels", is_flag=True, help="Remove all of its channels.")
def change(session: CommandContext, name: str, no_channels: bool, **options: Any) -> None:
    """Change the group NAME.

    Omitted options leave their values unchanged; --channel replaces all channels.
    """
    body = _body(**options) | ({"channels": []} if no_channels else {})
    if not body:
        raise click.UsageError("nothing to change: give at least one option", click.get_current_context())
    found = _find(session, name)
    if found is None:
        raise Failure(f"there is no group {clean(name)}: use `sagahold groups create {clean(name)}`")
    # The server removes a description that the request omits.
    whole = {"description": found["description"], **body}
    session.show(session.request("PUT", f"{PATH}/{part(name)}", body=whole), _done("is changed"))


@command(groups, "delete", Role.ADMIN)
@NAME
def delete(session: CommandContext, name: str) -> None:
    """Delete the group NAME.

    Its people lose their membership. A pause that only this group may decide waits until it times out.
    """
    session.request("DELETE", f"{PATH}/{part(name)}")
    if not session.as_json:
        click.echo(f"{name} is deleted")


def _find(session: CommandContext, name: str) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = session.request("GET", PATH).document["items"]
    return next((group for group in found if group["name"] == name), None)


def _body(description: str | None, channels: tuple[str, ...]) -> dict[str, Any]:
    return given(description=description, channels=list(channels) or None)


def _done(what: str) -> Any:
    def show(screen: Console, group: dict[str, Any]) -> None:
        screen.print(f"{clean(group['name'])} {what}", soft_wrap=True)

    return show


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            group["name"],
            str(group["people"]),
            short(", ".join(group["channels"]) or "none"),
            short(group["description"] or ""),
        )
        for group in document["items"]
    ]
    listed = table(("NAME", "PEOPLE", "CHANNELS", "DESCRIPTION"), rows)
    page(screen, {**document, "next_cursor": None}, listed, "no groups")
