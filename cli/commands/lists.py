"""`sagahold list …`: what there is, the newest first."""

from typing import Any

import click
from rich.console import Console

from cli.client import ServerResponse
from cli.session import CommandContext, command, page_options
from cli.views import saga as view
from cli.views.output import page, short, status, table, two_lines, when
from cli.watch import follow, watch_steps
from domain.identity.access import Role
from domain.manifests.manifest import KINDS
from domain.sagas.saga import SagaStatus


@click.group("list")
def list() -> None:
    """List what there is."""


@command(list, "definitions", Role.OPERATOR)
@click.option("--kind", type=click.Choice(KINDS), default="saga", show_default=True)
@click.option("--namespace")
@click.option("--name")
@click.option("--all", "everything", is_flag=True, help="Also those that were replaced.")
@page_options
def definitions(session: CommandContext, kind: str, everything: bool, **query: Any) -> None:
    """List what is deployed, the newest first."""
    query |= {"is_active": None if everything else "true"}
    session.show(session.ask("GET", f"/v1/definitions/{kind}s", query=query), _definitions)


@command(list, "sagas", Role.REVIEWER)
@click.option("--status", type=click.Choice([str(word) for word in SagaStatus]), multiple=True, help="Several times.")
@click.option("--in-flight", is_flag=True, help="Those that have not ended.")
@click.option("--failed", is_flag=True)
@click.option("--needs-operator", is_flag=True, help="Those where nobody knows what came of a call.")
@click.option("--namespace")
@click.option("--watch", is_flag=True, help="Look again until all of them have ended.")
@page_options
def sagas(session: CommandContext, watch: bool, **options: Any) -> None:
    """List sagas, the newest first."""
    query = {name: "true" if value is True else value or None for name, value in options.items()}

    def look() -> ServerResponse:
        return session.ask("GET", "/v1/sagas", query=query)

    if not watch:
        session.show(look(), view.sagas)
        return
    follow(
        session,
        look,
        lambda answer: all(item["ended_at"] is not None for item in answer.document["items"]),
        lambda answer: view.saga_table(answer.document["items"]),
        lambda answer: answer.text,
    )


@command(list, "steps", Role.REVIEWER)
@click.argument("trace_id", metavar="TRACE")
@click.option("--errors", is_flag=True, help="Only what went wrong, in full.")
@click.option("--watch", is_flag=True, help="Look again until the saga has ended. Exit status 0: COMPLETED; else 1.")
@page_options
def steps(session: CommandContext, trace_id: str, errors: bool, watch: bool, **query: Any) -> None:
    """List a saga's steps in their order, then the undos."""

    def look() -> ServerResponse:
        return session.ask("GET", "/v1/sagas/steps", query={**query, "trace_id": trace_id})

    if watch:
        watch_steps(session, trace_id, look)
    else:
        session.show(look(), view.errors if errors else view.steps)


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
