"""`sagahold hold …`: legal holds, which keep data beyond its retention."""

from typing import Any

import click
from rich.console import Console

from cli.client import part
from cli.parameters import IDEMPOTENCY_KEY
from cli.session import CommandContext, command, given
from cli.views.output import clean, lines, page, short, table, when
from domain.identity.access import Role

PATH = "/v1/legal-holds"


@click.group()
def hold() -> None:
    """Place, list and release legal holds.

    A legal hold keeps a pause, a saga or a whole namespace beyond its retention.
    """


@command(hold, "place", Role.ADMIN)
@click.argument("namespace")
@click.option("--subject", metavar="ID", help="Hold only this pause, or the saga with this trace id.")
@click.option("--reason", required=True, help="Say why; the audit log has it.")
@click.option("--idempotency-key", type=IDEMPOTENCY_KEY, help="Place one hold even if the request repeats.")
def place(
    session: CommandContext, namespace: str, subject: str | None, reason: str, idempotency_key: str | None
) -> None:
    """Hold a namespace, * for all of them."""
    body = {"namespace": namespace, "subject": subject, "reason": reason}
    headers = given(**{"Idempotency-Key": idempotency_key})
    session.show(session.request("POST", PATH, body=body, headers=headers), _one)


@command(hold, "list", Role.ADMIN)
@click.option("--released", is_flag=True, help="List released holds too.")
def list_(session: CommandContext, released: bool) -> None:
    """List holds, newest first."""
    session.show(session.request("GET", PATH, query={"released": "true" if released else None}), _list)


@command(hold, "release", Role.ADMIN)
@click.argument("hold_id", metavar="ID")
@click.option("--reason", required=True, help="Say why; the audit log has it.")
def release(session: CommandContext, hold_id: str, reason: str) -> None:
    """Release a legal hold. The retention applies again after a day."""
    session.show(session.request("POST", f"{PATH}/{part(hold_id)}/release", body={"reason": reason}), _one)


def _one(screen: Console, found: dict[str, Any]) -> None:
    state = "released" if found["released_at"] else "active"
    screen.print(clean(f"{found['id']} of {_what(found)} is {state}"), soft_wrap=True)


def _list(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            found["id"],
            lines(short(_what(found)), short(found["reason"])),
            short(f"released {when(found['released_at'])}" if found["released_at"] else when(found["placed_at"])),
        )
        for found in document["items"]
    ]
    page(screen, {**document, "next_cursor": None}, table(("HOLD", "KEEPS", "SINCE"), rows), "no holds")


def _what(found: dict[str, Any]) -> str:
    return f"{found['subject']} in {found['namespace']}" if found["subject"] else found["namespace"]
