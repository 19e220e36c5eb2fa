"""`sagahold groups …`: whom review policies ask by a name."""

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
DESCRIPTION = click.option("--description", help="For people.")
CHANNELS = click.option(
    "--channel", "channels", multiple=True, help="A URL by which the group hears of reviews, as Apprise writes it."
)


@click.group()
def groups() -> None:
    """Make, change and delete groups; `sagahold people change` puts people into them."""


@command(groups, "list", Role.ADMIN)
def list_(session: CommandContext) -> None:
    """List all groups, by name."""
    session.show(session.ask("GET", PATH), _list)


@command(groups, "create", Role.ADMIN)
@NAME
@DESCRIPTION
@CHANNELS
def create(session: CommandContext, name: str, **options: Any) -> None:
    """Make the group NAME."""
    try:
        made = session.ask("PUT", f"{PATH}/{part(name)}", query={"new": "true"}, body=_body(**options))
    except ServerRefused as refused:
        if refused.problem.get("code") != EXISTS:
            raise
        raise Failure(f"there is a group {clean(name)} already: sagahold groups change {clean(name)}") from None
    session.show(made, _told("is made"))


@command(groups, "change", Role.ADMIN)
@NAME
@DESCRIPTION
@CHANNELS
@click.option("--no-channels", is_flag=True, help="It hears of nothing any more.")
def change(session: CommandContext, name: str, no_channels: bool, **options: Any) -> None:
    """Change the group NAME.

    What is not given stays as it is; --channel replaces all of its channels.
    """
    body = _body(**options) | ({"channels": []} if no_channels else {})
    if not body:
        raise click.UsageError("nothing to change was given", click.get_current_context())
    found = _find(session, name)
    if found is None:
        raise Failure(f"there is no group {clean(name)}: sagahold groups create {clean(name)}")
    # The server takes a description that is not named as none.
    whole = {"description": found["description"], **body}
    session.show(session.ask("PUT", f"{PATH}/{part(name)}", body=whole), _told("is changed"))


@command(groups, "delete", Role.ADMIN)
@NAME
def delete(session: CommandContext, name: str) -> None:
    """Delete the group NAME; its people are in it no more.

    Reviews that ask only this group wait for their time to run out.
    """
    session.ask("DELETE", f"{PATH}/{part(name)}")
    if not session.as_json:
        click.echo(f"{name} is deleted")


def _find(session: CommandContext, name: str) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = session.ask("GET", PATH).document["items"]
    return next((group for group in found if group["name"] == name), None)


def _body(description: str | None, channels: tuple[str, ...]) -> dict[str, Any]:
    return given(description=description, channels=list(channels) or None)


def _told(what: str) -> Any:
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
