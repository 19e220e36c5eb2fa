"""`sagahold people …`: people who may sign in to the dashboard (admin)."""

from typing import Any

import click
from rich.console import Console

from cli.client import Failure, part
from cli.session import CommandContext, command, given, page_options, reach_option
from cli.views.output import clean, lines, page, short, table, when
from domain.identity.access import Role
from domain.identity.person import ROLES

PATH = "/v1/people"


@click.group()
def people() -> None:
    """Manage people and their sign-in links."""


@command(people, "add", Role.ADMIN)
@click.argument("email")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in ROLES]),
    default=str(Role.REVIEWER),
    show_default=True,
    help="Give the person this role.",
)
@reach_option
@click.option("--group", "groups", multiple=True, help="Add the person to this group (repeatable).")
@click.option("--channel", "channels", multiple=True, help="Notify the person at this Apprise URL (repeatable).")
def add(session: CommandContext, **options: Any) -> None:
    """Add a person.

    Then create a sign-in link with `sagahold people link EMAIL`.
    """
    body = given(**{name: list(value) if isinstance(value, tuple) else value for name, value in options.items()})
    session.show(session.request("POST", PATH, body=body), _done("is added"))


@command(people, "list", Role.ADMIN)
@page_options
def list_(session: CommandContext, **query: Any) -> None:
    """List people, newest first."""
    session.show(session.request("GET", PATH, query=query), _list)


@command(people, "link", Role.ADMIN)
@click.argument("email")
def link(session: CommandContext, email: str) -> None:
    """Create a link that signs EMAIL in once."""
    session.show(session.request("POST", f"{PATH}/{part(_id(session, email))}/link"), _link)


@command(people, "change", Role.ADMIN)
@click.argument("email")
@click.option("--name", help="Change the name.")
@click.option("--to", "new_email", metavar="EMAIL", help="Change the e-mail address.")
@click.option("--role", type=click.Choice([str(role) for role in ROLES]), help="Change the role.")
@click.option("--namespace", "namespaces", multiple=True, help="Replace their namespaces, * for all (repeatable).")
@click.option("--group", "groups", multiple=True, help="Replace their groups (repeatable).")
@click.option("--no-groups", is_flag=True, help="Remove the person from all groups.")
@click.option("--channel", "channels", multiple=True, help="Replace their notification channels (repeatable).")
@click.option("--no-channels", is_flag=True, help="Remove all of their notification channels.")
@click.option("--enable/--disable", "enabled", default=None, help="Allow or block signing in.")
@click.option("--remove-password", is_flag=True, default=None, help="Remove a forgotten password.")
def change(
    session: CommandContext,
    email: str,
    new_email: str | None,
    no_groups: bool,
    no_channels: bool,
    enabled: bool | None,
    **options: Any,
) -> None:
    """Change the person EMAIL.

    Omitted options leave their values unchanged.
    """
    emptied: dict[str, Any] = ({"groups": []} if no_groups else {}) | ({"channels": []} if no_channels else {})
    listed = {name: list(value) or None if isinstance(value, tuple) else value for name, value in options.items()}
    disabled = None if enabled is None else not enabled
    body = given(email=new_email, disabled=disabled, **listed) | emptied
    if not body:
        raise click.UsageError("nothing to change: give at least one option", click.get_current_context())
    found = session.request("PATCH", f"{PATH}/{part(_id(session, email))}", body=body)
    session.show(found, _done(f"is changed: {', '.join(sorted(body))}"))


@command(people, "enable", Role.ADMIN)
@click.argument("email")
def enable(session: CommandContext, email: str) -> None:
    """Allow EMAIL to sign in again."""
    found = session.request("PATCH", f"{PATH}/{part(_id(session, email))}", body={"disabled": False})
    session.show(found, _done("is enabled"))


@command(people, "disable", Role.ADMIN)
@click.argument("email")
def disable(session: CommandContext, email: str) -> None:
    """Sign EMAIL out everywhere and block signing in."""
    found = session.request("PATCH", f"{PATH}/{part(_id(session, email))}", body={"disabled": True})
    session.show(found, _done("is disabled"))


def _id(session: CommandContext, email: str) -> str:
    """Return the id of the person with this e-mail address. Raises `Failure` if there is none."""
    found = session.request("GET", PATH, query={"email": email}).document["items"]
    if not found:
        raise Failure(f"this key can manage no person with the e-mail address {clean(email)}")
    return str(found[0]["id"])


def _done(what: str) -> Any:
    def show(screen: Console, person: dict[str, Any]) -> None:
        screen.print(f"{clean(person['id'])} ({clean(person['email'])}) {what}", soft_wrap=True)

    return show


def _link(screen: Console, made: dict[str, Any]) -> None:
    # Never cut: a partial link does not work.
    screen.print(made["url"], style="bold", soft_wrap=True)
    screen.print(f"The link works once and expires {when(made['expires_at'])}.", style="dim")


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{short(person['email'])}\n{person['id']}",
            f"{person['role']}\n{'disabled' if person['disabled_at'] else 'active'}",
            lines(short(person["name"]), short(", ".join([*person["namespaces"], *person["groups"]]))),
        )
        for person in document["items"]
    ]
    page(screen, document, table(("E-MAIL, ID", "ROLE, STATE", "NAME, NAMESPACES, GROUPS"), rows), "no people")
