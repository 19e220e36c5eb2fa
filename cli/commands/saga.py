"""`sagahold saga …`: recovery and cancellation of sagas (operator)."""

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
_RESULTS = {
    "requeued": "will run again",
    "scheduled": "will be tried again",
    "claim_active": "is running on a worker, so nothing was changed; --force takes it over",
    "resolved": "is resolved",
}


@click.group()
def saga() -> None:
    """Recover or cancel a saga."""


def _recovery_options(function: Command) -> Command:
    for option in (
        click.option("--reason", help="Record why in the audit log."),
        click.option("--recovery-token", help="Recover once even if the request repeats."),
        click.option("--allow-destructive", is_flag=True, help="Proceed even if the call may run twice."),
        click.option(
            "--force",
            is_flag=True,
            help="Take over from the running worker. Its result is discarded; its side effects are not.",
        ),
    ):
        function = option(function)
    return function


@command(saga, "retry-step", Role.OPERATOR)
@TRACE
@SPAN
@_recovery_options
def retry_step(session: CommandContext, trace_id: str, span_id: str, **request: Any) -> None:
    """Repeat a step with an unknown outcome."""
    _post(session, trace_id, span_id, "retry-step", given(**request))


@command(saga, "retry-compensation", Role.OPERATOR)
@TRACE
@SPAN
@click.option("--arguments", type=JSON, help="Replace all arguments of a failed compensation with this object.")
@PREVIEW
@_recovery_options
def retry_compensation(session: CommandContext, trace_id: str, span_id: str, preview: bool, **request: Any) -> None:
    """Repeat a compensation (failed or unknown outcome).

    SPAN is the span of the compensation. Each change that --arguments makes is shown.
    """
    edit = request["arguments"]
    if preview and edit is None:
        raise click.UsageError("--preview needs --arguments")
    if edit is not None and (preview or not session.as_json):
        undo = session.request("GET", f"/v1/sagas/{part(trace_id)}/steps/{part(span_id)}").document
        show_edit(session, undo["resolved_arguments"], edit, "arguments", preview=preview)
    if preview:
        return
    _post(session, trace_id, span_id, "retry-compensation", given(**request))


@command(saga, "resolve", Role.OPERATOR)
@TRACE
@SPAN
@click.option(
    "--outcome", type=click.Choice(["done", "not_done"]), required=True, help="Say whether the call was carried out."
)
@click.option("--evidence", required=True, help="Record how you know.")
@click.option("--output", type=JSON, help="Store this output of a call that was carried out.")
def resolve(session: CommandContext, trace_id: str, span_id: str, **outcome: Any) -> None:
    """Resolve an unknown outcome or a failed compensation.

    For a failed compensation, `done` means that it was undone by hand, and the remaining compensations go on.
    `not_done` means that it will not be undone.
    """
    _post(session, trace_id, span_id, "resolve", given(**outcome))


@command(saga, "cancel", Role.OPERATOR)
@TRACE
@click.option("--reason", help="Record why.")
def cancel(session: CommandContext, trace_id: str, **body: Any) -> None:
    """Cancel a saga, and compensate its completed steps."""

    def cancelled(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"{clean(document['trace_id'])} is cancelled; completed steps will be undone", soft_wrap=True)
        view.next_command(screen, f"list steps {trace_id} --watch")

    session.show(session.request("POST", f"/v1/sagas/{part(trace_id)}/cancel", body=given(**body)), cancelled)


def _post(session: CommandContext, trace_id: str, span_id: str, verb: str, body: dict[str, Any]) -> None:
    def posted(screen: Console, document: dict[str, Any]) -> None:
        status = document["status"]
        screen.print(f"{clean(span_id)} {_RESULTS.get(status, clean(status))}", soft_wrap=True)
        if status != "claim_active":
            view.next_command(screen, f"list steps {trace_id} --watch")

    path = f"/v1/sagas/{part(trace_id)}/steps/{part(span_id)}/{verb}"
    session.show(session.request("POST", path, body=body), posted)
