"""`sagahold show …`: one saga or one step."""

import click

from cli.client import part
from cli.session import CommandContext, command
from cli.views import saga as view
from domain.identity.access import Role


@click.group()
def show() -> None:
    """Show one saga or one step."""


@command(show, "saga", Role.REVIEWER)
@click.argument("trace_id", metavar="TRACE")
def saga(session: CommandContext, trace_id: str) -> None:
    """Show a saga: its status, its steps and possible next commands."""
    session.show(session.request("GET", f"/v1/sagas/{part(trace_id)}"), view.saga)


@command(show, "step", Role.REVIEWER)
@click.argument("trace_id", metavar="TRACE")
@click.argument("span_id", metavar="SPAN")
def step(session: CommandContext, trace_id: str, span_id: str) -> None:
    """Show a step: its arguments, its output and its error."""
    session.show(session.request("GET", f"/v1/sagas/{part(trace_id)}/steps/{part(span_id)}"), view.step)
