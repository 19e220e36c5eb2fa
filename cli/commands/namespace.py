"""`sagahold namespace …`: the minimum rules for every pause in a namespace."""

from typing import Any

import click
from rich.console import Console

from cli.client import part
from cli.parameters import JSON, NEVER, SPAN_OR_NEVER
from cli.session import CommandContext, command
from cli.views.output import facts, pretty_json, when
from domain.identity.access import Role
from domain.pauses.pause import OnTimeout

PATH = "/v1/namespaces"


@click.group()
def namespace() -> None:
    """Show and set the minimum rules for reviews in a namespace."""


@command(namespace, "show", Role.ADMIN)
@click.argument("name")
def show(session: CommandContext, name: str) -> None:
    """Show the rules of the namespace NAME."""
    session.show(session.request("GET", f"{PATH}/{part(name)}"), _shown)


@command(namespace, "set", Role.ADMIN)
@click.argument("name")
@click.option("--review", type=JSON, help='Require this approval policy, such as {"approvals": 2}; {} is one approval.')
@click.option(
    "--allow-on-timeout",
    "allowed",
    multiple=True,
    type=click.Choice([str(word) for word in OnTimeout]),
    help="Let pauses request this outcome when time runs out (repeatable).",
)
@click.option(
    "--min-expires-in", type=SPAN_OR_NEVER, metavar="3600|2h|never", help="Give reviewers at least this long."
)
@click.option(
    "--approval-valid-for",
    "valid_for",
    type=SPAN_OR_NEVER,
    metavar="900|15m|never",
    help="Let agents use an approval for at most this long; never means no limit.",
)
def set_(
    session: CommandContext,
    name: str,
    review: Any,
    allowed: tuple[str, ...],
    min_expires_in: int | str | None,
    valid_for: int | str | None,
) -> None:
    """Set the rules of the namespace NAME.

    Omitted options leave their values unchanged.
    """
    where = f"{PATH}/{part(name)}"
    body: dict[str, Any] = {"review": review}
    if review is None:
        body["review"] = session.request("GET", where).document["review"]
    if allowed:
        body["allowed_on_timeout"] = list(allowed)
    if min_expires_in is not None:
        body["min_expires_in"] = None if min_expires_in == NEVER else min_expires_in
    if valid_for is not None:
        body["approval_valid_for"] = None if valid_for == NEVER else valid_for
    session.show(session.request("PUT", where, body=body), _shown)


def _shown(screen: Console, document: dict[str, Any]) -> None:
    least, most = document["min_expires_in"], document["approval_valid_for"]
    facts(
        screen,
        [
            ("namespace", document["namespace"]),
            ("on timeout", ", ".join(document["allowed_on_timeout"])),
            ("expires in", "no minimum" if least is None else f"at least {least} s"),
            ("approval", "valid without a limit" if most is None else f"valid for at most {most} s"),
            ("changed", when(document["changed_at"]) if document["changed_at"] else "never"),
        ],
    )
    screen.print(pretty_json(document["review"]))
