"""`sagahold saga …`: an operator's means where a saga does not go on by itself."""

from typing import Any

import click
from rich.console import Console

from cli.client import part
from cli.parameters import JSON
from cli.session import Command, CommandContext, command, given
from cli.views import saga as view
from cli.views.changes import PREVIEW, show_edit
from cli.views.output import clean
from domain.identity.access import Role

TRACE = click.argument("trace_id", metavar="TRACE")
SPAN = click.argument("span_id", metavar="SPAN")
_SAID = {
    "requeued": "runs again",
    "scheduled": "is tried again",
    "claim_active": "is being worked on: nothing was done; --force takes it from that worker",
    "resolved": "is settled",
}


@click.group()
def saga() -> None:
    """Recover or cancel a saga."""


def _recovery_options(function: Command) -> Command:
    for option in (
        click.option("--reason", help="Why; it goes into the log."),
        click.option("--recovery-token", help="Yours: said again, it is not carried out again."),
        click.option("--allow-destructive", is_flag=True, help="Also where it may be carried out a second time."),
        click.option("--force", is_flag=True, help="Also while a worker is at it; its result is dropped."),
    ):
        function = option(function)
    return function


@command(saga, "retry-step", Role.OPERATOR)
@TRACE
@SPAN
@_recovery_options
def retry_step(session: CommandContext, trace_id: str, span_id: str, **request: Any) -> None:
    """Repeat a step whose outcome nobody knows."""
    _post(session, trace_id, span_id, "retry-step", given(**request))


@command(saga, "retry-compensation", Role.OPERATOR)
@TRACE
@SPAN
@click.option("--arguments", type=JSON, help="All that it is tried with, instead of what it had; it must have failed.")
@PREVIEW
@_recovery_options
def retry_compensation(session: CommandContext, trace_id: str, span_id: str, preview: bool, **request: Any) -> None:
    """Try an undo again that failed, or whose outcome nobody knows. Other arguments are shown place by place.

    SPAN is that of the undo.
    """
    edit = request["arguments"]
    if preview and edit is None:
        raise click.UsageError("--preview shows what --arguments changes: give both")
    if edit is not None and (preview or not session.as_json):
        undo = session.ask("GET", f"/v1/sagas/{part(trace_id)}/steps/{part(span_id)}").document
        show_edit(session, undo["resolved_arguments"], edit, "arguments", preview=preview)
    if preview:
        return
    _post(session, trace_id, span_id, "retry-compensation", given(**request))


@command(saga, "resolve", Role.OPERATOR)
@TRACE
@SPAN
@click.option("--outcome", type=click.Choice(["done", "not_done"]), required=True)
@click.option("--evidence", required=True, help="How you know; it is kept.")
@click.option("--output", type=JSON, help="What the call has answered, where it was done.")
def resolve(session: CommandContext, trace_id: str, span_id: str, **said: Any) -> None:
    """Say what came of a call whose outcome nobody knows, or of an undo that failed.

    Of a failed undo, done: it was undone by hand, and the undoing goes on; not_done: nobody will undo it.
    """
    _post(session, trace_id, span_id, "resolve", given(**said))


@command(saga, "cancel", Role.OPERATOR)
@TRACE
@click.option("--reason")
def cancel(session: CommandContext, trace_id: str, **body: Any) -> None:
    """Give a saga up, and undo what was done."""

    def cancelled(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"{clean(document['trace_id'])} is given up; what was done will be undone", soft_wrap=True)
        view.next_command(screen, f"list steps {trace_id} --watch")

    session.show(session.ask("POST", f"/v1/sagas/{part(trace_id)}/cancel", body=given(**body)), cancelled)


def _post(session: CommandContext, trace_id: str, span_id: str, verb: str, body: dict[str, Any]) -> None:
    def told(screen: Console, document: dict[str, Any]) -> None:
        status = document["status"]
        screen.print(f"{clean(span_id)} {_SAID.get(status, clean(status))}", soft_wrap=True)
        if status != "claim_active":
            view.next_command(screen, f"list steps {trace_id} --watch")

    path = f"/v1/sagas/{part(trace_id)}/steps/{part(span_id)}/{verb}"
    session.show(session.ask("POST", path, body=body), told)
