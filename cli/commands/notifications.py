"""`sagahold notifications …`: messages to people about waiting reviews and sagas (operator)."""

from typing import Any

import click
from rich.console import Console

from cli.client import part
from cli.session import CommandContext, command, page_options
from cli.views.output import clean, lines, page, short, status, table, when
from domain.delivery.notification import NotificationStatus
from domain.identity.access import Role

PATH = "/v1/notifications"


@click.group()
def notifications() -> None:
    """List and resend notifications to people."""


@command(notifications, "list", Role.OPERATOR)
@click.option(
    "--status",
    type=click.Choice([str(word) for word in NotificationStatus]),
    help="List only notifications with this status.",
)
@click.option("--namespace", help="List only notifications in this namespace.")
@click.option("--pause", "watch_id", metavar="WATCH_ID", help="List only notifications about this pause.")
@click.option("--saga", "trace_id", metavar="TRACE", help="List only notifications about this saga.")
@click.option("--recipient", help="List only notifications to this e-mail address or group.")
@page_options
def show_list(session: CommandContext, **query: Any) -> None:
    """List notifications, newest first."""
    session.show(session.request("GET", PATH, query=query), _page)


@command(notifications, "retry", Role.OPERATOR)
@click.argument("notification_id", metavar="ID")
def retry(session: CommandContext, notification_id: str) -> None:
    """Send a failed notification again now."""

    def resent(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"{document['id']} will be sent again", soft_wrap=True)

    session.show(session.request("POST", f"{PATH}/{part(notification_id)}/retry"), resent)


def _page(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{item['id']}\n{clean(item['watch_id'] or item['trace_id'])}",
            lines(status(item["status"]), short(when(item["created_at"]))),
            lines(short(f"{item['recipient']}  {item['channel']}"), short(item["last_error"] or item["reason"])),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("ID, ABOUT", "STATUS", "RECIPIENT, ERROR"), rows), "no notifications")
