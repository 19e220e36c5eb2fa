"""`sagahold list …`: what there is, the newest first."""

from typing import Any

import click
from rich.console import Console

from cli.output import page, short, status, table, two_lines, when
from cli.session import Session, command, page_options
from domain.access import Role
from domain.manifest import KINDS


@click.group("list")
def list() -> None:
    """List what there is."""


@command(list, "definitions", Role.OPERATOR)
@click.option("--kind", type=click.Choice(KINDS), default="saga", show_default=True)
@click.option("--namespace")
@click.option("--name")
@click.option("--all", "everything", is_flag=True, help="Also those that were replaced.")
@page_options
def definitions(session: Session, kind: str, everything: bool, **query: Any) -> None:
    """List what is deployed, the newest first."""
    query |= {"is_active": None if everything else "true"}
    session.show(session.ask("GET", f"/v1/definitions/{kind}s", query=query), _definitions)


def _definitions(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            item["id"],
            two_lines(short(item["name"]), short(f"version {item['version']}")),
            two_lines(short(item["namespace"]), status("active" if item["is_active"] else "replaced")),
            short(when(item["created_at"])),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("ID", "NAME", "NAMESPACE", "DEPLOYED"), rows), "nothing is deployed")
