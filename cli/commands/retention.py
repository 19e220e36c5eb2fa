"""`sagahold retention …`: how long a namespace keeps its data."""

from typing import Any

import click
from rich.console import Console

from cli.client import part
from cli.session import CommandContext, command
from cli.views.output import facts, when
from domain.identity.access import Role

_DAYS = click.IntRange(1, 36_500)


@click.group()
def retention() -> None:
    """Show and set how long a namespace keeps its data."""


@command(retention, "show", Role.ADMIN)
@click.argument("namespace")
def show(session: CommandContext, namespace: str) -> None:
    """Show the rule of a namespace."""
    session.show(session.request("GET", _path(namespace)), _shown)


@command(retention, "set", Role.ADMIN)
@click.argument("namespace")
@click.option("--decision-days", type=_DAYS, help="Keep ended pauses and sagas this long (default: the server's).")
@click.option("--message-days", type=_DAYS, help="Keep webhook messages this long (default: the server's).")
@click.option("--below-six-months", is_flag=True, help="Confirm that decisions may go before six months.")
def set_(
    session: CommandContext,
    namespace: str,
    decision_days: int | None,
    message_days: int | None,
    below_six_months: bool,
) -> None:
    """Set the whole rule of a namespace. Nothing of it is deleted for a day."""
    body = {"decision_days": decision_days, "message_days": message_days, "below_six_months": below_six_months}
    session.show(session.request("PUT", _path(namespace), body=body), _shown)


def _path(namespace: str) -> str:
    return f"/v1/namespaces/{part(namespace)}/retention"


def _shown(screen: Console, document: dict[str, Any]) -> None:
    facts(
        screen,
        [
            ("namespace", document["namespace"]),
            ("decisions", _days(document["decision_days"])),
            ("messages", _days(document["message_days"])),
            ("changed", when(document["changed_at"]) if document["changed_at"] else "never"),
        ],
    )


def _days(days: int | None) -> str:
    return "the server's default" if days is None else f"{days} days"
