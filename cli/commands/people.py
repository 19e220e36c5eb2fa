"""`sagahold people …`: who may sign in to the dashboard."""

from typing import Any

import click
from rich.console import Console

from cli.client import Failure, part
from cli.session import CommandContext, command, given, page_options, reach_option
from cli.views.output import clean, page, short, table, two_lines, when
from domain.identity.access import Role
from domain.identity.person import ROLES

PATH = "/v1/people"


@click.group()
def people() -> None:
    """Add and change people, make their sign-in links, disable them."""


@command(people, "add", Role.ADMIN)
@click.argument("email")
@click.argument("name")
@click.option("--role", type=click.Choice([str(role) for role in ROLES]), default=str(Role.REVIEWER), show_default=True)
@reach_option
@click.option("--group", "groups", multiple=True, help="May be given several times.")
@click.option("--channel", "channels", multiple=True, help="A URL by which they hear of reviews, as Apprise writes it.")
def add(session: CommandContext, **options: Any) -> None:
    """Add a person; `sagahold people link EMAIL` then lets them in."""
    body = given(**{name: list(value) if isinstance(value, tuple) else value for name, value in options.items()})
    session.show(session.ask("POST", PATH, body=body), _told("is added"))


@command(people, "list", Role.ADMIN)
@page_options
def list_(session: CommandContext, **query: Any) -> None:
    """List people, the newest first."""
    session.show(session.ask("GET", PATH, query=query), _list)


@command(people, "link", Role.ADMIN)
@click.argument("email")
def link(session: CommandContext, email: str) -> None:
    """Make a link that signs EMAIL in, once."""
    session.show(session.ask("POST", f"{PATH}/{part(_id(session, email))}/link"), _link)


@command(people, "change", Role.ADMIN)
@click.argument("email")
@click.option("--name")
@click.option("--to", "new_email", metavar="EMAIL", help="Another e-mail from now on.")
@click.option("--role", type=click.Choice([str(role) for role in ROLES]))
@click.option("--namespace", "namespaces", multiple=True, help="All that they see; several times, * is all of them.")
@click.option("--group", "groups", multiple=True, help="All that they are in; several times.")
@click.option("--no-groups", is_flag=True, help="They are in none.")
@click.option("--channel", "channels", multiple=True, help="All by which they hear of reviews; several times.")
@click.option("--no-channels", is_flag=True, help="They hear of nothing.")
@click.option("--enable/--disable", "enabled", default=None)
@click.option("--remove-password", is_flag=True, default=None, help="For one that was forgotten.")
def change(
    session: CommandContext,
    email: str,
    new_email: str | None,
    no_groups: bool,
    no_channels: bool,
    enabled: bool | None,
    **options: Any,
) -> None:
    """Change the person with this EMAIL.

    What is not given stays as it is.
    """
    emptied: dict[str, Any] = ({"groups": []} if no_groups else {}) | ({"channels": []} if no_channels else {})
    told = {name: list(value) or None if isinstance(value, tuple) else value for name, value in options.items()}
    disabled = None if enabled is None else not enabled
    body = given(email=new_email, disabled=disabled, **told) | emptied
    if not body:
        raise click.UsageError("nothing to change was given", click.get_current_context())
    found = session.ask("PATCH", f"{PATH}/{part(_id(session, email))}", body=body)
    session.show(found, _told(f"is changed: {', '.join(sorted(body))}"))


@command(people, "enable", Role.ADMIN)
@click.argument("email")
def enable(session: CommandContext, email: str) -> None:
    """Let EMAIL in again."""
    found = session.ask("PATCH", f"{PATH}/{part(_id(session, email))}", body={"disabled": False})
    session.show(found, _told("is enabled"))


@command(people, "disable", Role.ADMIN)
@click.argument("email")
def disable(session: CommandContext, email: str) -> None:
    """Sign EMAIL out everywhere, and let them in no more."""
    found = session.ask("PATCH", f"{PATH}/{part(_id(session, email))}", body={"disabled": True})
    session.show(found, _told("is disabled"))


def _id(session: CommandContext, email: str) -> str:
    """Of the person with this e-mail. Raises `Failure`."""
    found = session.ask("GET", PATH, query={"email": email}).document["items"]
    if not found:
        raise Failure(f"there is no person with the e-mail {clean(email)} whom this key may manage")
    return str(found[0]["id"])


def _told(what: str) -> Any:
    def show(screen: Console, person: dict[str, Any]) -> None:
        screen.print(f"{clean(person['id'])} ({clean(person['email'])}) {what}", soft_wrap=True)

    return show


def _link(screen: Console, made: dict[str, Any]) -> None:
    # Whole, however narrow the terminal: half a link opens nothing.
    screen.print(made["url"], style="bold", soft_wrap=True)
    screen.print(f"It signs in once; it expires {when(made['expires_at'])}.", style="dim")


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{short(person['email'])}\n{person['id']}",
            f"{person['role']}\n{'disabled' if person['disabled_at'] else 'active'}",
            two_lines(short(person["name"]), short(", ".join([*person["namespaces"], *person["groups"]]))),
        )
        for person in document["items"]
    ]
    page(screen, document, table(("E-MAIL, ID", "ROLE, STATE", "NAME, NAMESPACES, GROUPS"), rows), "no people")
