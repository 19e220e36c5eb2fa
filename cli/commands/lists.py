"""`sagahold list …`: definitions, sagas and steps."""

from typing import Any

import click
from rich.console import Console

from cli.client import ServerResponse
from cli.session import CommandContext, command, page_options
from cli.views import saga as view
from cli.views.output import lines, page, short, status, table, when
from cli.watch import follow, watch_steps
from domain.identity.access import Role
from domain.manifests.manifest import KINDS
from domain.sagas.saga import SagaStatus


@click.group("list")
def list() -> None:
    """List definitions, sagas and steps."""


@command(list, "definitions", Role.OPERATOR)
@click.option(
    "--kind", type=click.Choice(KINDS), default="saga", show_default=True, help="List definitions of this kind."
)
@click.option("--namespace", help="List only definitions in this namespace.")
@click.option("--name", help="List only definitions with this name.")
@click.option("--all", "everything", is_flag=True, help="Include replaced definitions.")
@page_options
def definitions(session: CommandContext, kind: str, everything: bool, **query: Any) -> None:
    """List deployed definitions, newest first."""
    query |= {"is_active": None if everything else "true"}
    session.show(session.request("GET", f"/v1/definitions/{kind}s", query=query), _definitions)


@command(list, "sagas", Role.REVIEWER)
@click.option(
    "--status",
    type=click.Choice([str(word) for word in SagaStatus]),
    multiple=True,
    help="List only sagas with this status (repeatable).",
)
@click.option("--in-flight", is_flag=True, help="List only sagas that have not ended.")
@click.option("--failed", is_flag=True, help="List only sagas that failed.")
@click.option("--needs-operator", is_flag=True, help="List only sagas that need an operator.")
@click.option("--namespace", help="List only sagas in this namespace.")
@click.option("--watch", is_flag=True, help="Refresh until all of them have ended.")
@page_options
def sagas(session: CommandContext, watch: bool, **options: Any) -> None:
    """List sagas, newest first."""
    query = {name: "true" if value is True else value or None for name, value in options.items()}

    def look() -> ServerResponse:
        return session.request("GET", "/v1/sagas", query=query)

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
@click.option("--errors", is_flag=True, help="Show only errors, in full.")
@click.option(
    "--watch", is_flag=True, help="Refresh until the saga has ended; exit with status 0 only if it is COMPLETED."
)
@page_options
def steps(session: CommandContext, trace_id: str, errors: bool, watch: bool, **query: Any) -> None:
    """List a saga's steps in order, then its compensations."""

    def look() -> ServerResponse:
        return session.request("GET", "/v1/sagas/steps", query={**query, "trace_id": trace_id})

    if watch:
        watch_steps(session, trace_id, look)
    else:
        session.show(look(), view.errors if errors else view.steps)


def _definitions(screen: Console, document: dict[str, Any]) -> None:
    rows = [
        (
            item["id"],
            lines(short(item["name"]), short(f"version {item['version']}")),
            lines(short(item["namespace"]), status("active" if item["is_active"] else "replaced")),
            short(when(item["created_at"])),
        )
        for item in document["items"]
    ]
    page(screen, document, table(("ID", "NAME", "NAMESPACE", "DEPLOYED"), rows), "no definitions")
