"""`sagahold notifications …`: who was told that a review or a saga waits, and who was not (operator)."""

from typing import Any

import click
from rich.console import Console

from cli.client import part
from cli.session import CommandContext, command, page_options
from cli.views.output import clean, page, short, status, table, two_lines, when
from domain.delivery.notification import NotificationStatus
from domain.identity.access import Role

PATH = "/v1/notifications"


@click.group()
def notifications() -> None:
    """Messages to people that a review or a saga waits for them."""


@command(notifications, "list", Role.OPERATOR)
@click.option("--status", type=click.Choice([str(word) for word in NotificationStatus]))
@click.option("--namespace")
@click.option("--pause", "watch_id", metavar="WATCH_ID", help="Only those about this pause.")
@click.option("--saga", "trace_id", metavar="TRACE", help="Only those about this saga.")
@click.option("--recipient", help="A person's mail address, or the name of a group.")
@page_options
def show_list(session: CommandContext, **query: Any) -> None:
    """List notifications, the newest first."""
    session.show(session.ask("GET", PATH, query=query), _page)


@command(notifications, "retry", Role.OPERATOR)
@click.argument("notification_id", metavar="ID")
def retry(session: CommandContext, notification_id: str) -> None:
    """Send one that failed again, now."""

    def again(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"{document['id']} is sent again", soft_wrap=True)

    session.show(session.ask("POST", f"{PATH}/{part(notification_id)}/retry"), again)


def _page(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{item['id']}\n{clean(item['watch_id'] or item['trace_id'])}",
            two_lines(status(item["status"]), short(when(item["created_at"]))),
            two_lines(short(f"{item['recipient']}  {item['channel']}"), short(item["last_error"] or item["reason"])),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("ID, WHAT WAITS", "STATUS", "TO WHOM, ERROR"), rows), "no such notifications")
