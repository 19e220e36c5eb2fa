"""`sagahold review …`: list held steps and decide on them."""

import json
from typing import Any

import click
from rich.console import Console

from cli.client import Failure, part
from cli.parameters import JSON, REVISION
from cli.session import CommandContext, command, given, page_options
from cli.views import review as review_view
from cli.views import saga as view
from cli.views.changes import PREVIEW, show_edit
from cli.views.output import clean, console
from cli.views.pause import reporting_late_decision
from domain.identity.access import Role
from domain.manifests.definition import StepKind

QUEUE = "/v1/sagas/pending-review"
TRACE = click.argument("trace_id", metavar="TRACE")
# A saga has at most one held step at a time.
SPAN = click.argument("span_id", metavar="[SPAN]", required=False)
COMMENT = click.option("--comment", help="Record why.")


@click.group()
def review() -> None:
    """List held steps and decide on them."""


@command(review, "list", Role.REVIEWER)
@click.option("--trace-id", metavar="TRACE", help="List only steps of this saga.")
@click.option("--namespace", help="List only steps in this namespace.")
@click.option("--kind", type=click.Choice([str(kind) for kind in StepKind]), help="List only steps of this kind.")
@page_options
def list_(session: CommandContext, **query: Any) -> None:
    """List held steps, longest waiting first."""
    session.show(session.request("GET", QUEUE, query=query), review_view.queue)


@command(review, "show", Role.REVIEWER)
@TRACE
@SPAN
def show(session: CommandContext, trace_id: str, span_id: str | None) -> None:
    """Show what an approval will execute or pass on."""
    item = _held(session, trace_id, span_id)
    if session.as_json:
        click.echo(json.dumps(item, ensure_ascii=False))
        return
    pause = session.request("GET", f"/api/pause/{part(item['watch_id'])}").document
    review_view.describe(console(), item, pause)


@command(review, "approve", Role.REVIEWER)
@TRACE
@SPAN
@COMMENT
@click.option("--output", type=JSON, help="Replace the output of a reason step with this object.")
@REVISION
@PREVIEW
def approve(session: CommandContext, trace_id: str, span_id: str | None, preview: bool, **body: Any) -> None:
    """Approve the step.

    Each change that --output makes is shown.
    """
    if preview and body["output"] is None:
        raise click.UsageError("--preview needs --output")
    if body["output"] is not None and (preview or not session.as_json):
        _show_edit(session, trace_id, span_id, body["output"], preview)
    if preview:
        return
    _decide(session, trace_id, span_id, "approve", body)


def _show_edit(session: CommandContext, trace_id: str, span_id: str | None, output: Any, preview: bool) -> None:
    """Show the changes. If the step is no longer held, the server's response to the decision says so."""
    items = session.request("GET", QUEUE, query={"trace_id": trace_id}).document["items"]
    held = [item for item in items if span_id in (None, item["step_span_id"])]
    if held and held[0]["review_subject"] == "output":
        found = held[0]["review_payload"]
        wrapped = isinstance(output, dict) and output.keys() == {"data"} and "data" not in found
        show_edit(session, found, output["data"] if wrapped else output, "output", preview=preview)
    elif preview:
        raise Failure("the saga holds no output of a reason step: there is nothing to edit")


@command(review, "reject", Role.REVIEWER)
@TRACE
@SPAN
@COMMENT
@click.option("--error-details", type=JSON, help="Store this object or string as the step's error.")
@REVISION
def reject(session: CommandContext, trace_id: str, span_id: str | None, **body: Any) -> None:
    """Reject the step, and compensate the completed steps."""
    _decide(session, trace_id, span_id, "reject", body)


@command(review, "retry", Role.REVIEWER)
@TRACE
@SPAN
@click.option("--guidance", help="Say what to do better.")
@click.option("--retry-token", help="Count one retry even if the request repeats.")
@REVISION
def retry(session: CommandContext, trace_id: str, span_id: str | None, **body: Any) -> None:
    """Request another run of the step, which is held again."""
    _decide(session, trace_id, span_id, "retry", body)


# `by you`, because the policy may require more votes.
_DONE = {"approve": "approved by you", "reject": "rejected by you", "retry": "will run again"}


def _decide(session: CommandContext, trace_id: str, span_id: str | None, verb: str, body: dict[str, Any]) -> None:
    span_id = span_id or _held(session, trace_id, None)["step_span_id"]

    def decided(screen: Console, document: dict[str, Any]) -> None:
        before = " (already recorded)" if document["status"] == "already_queued" else ""
        screen.print(f"{clean(span_id)} {_DONE[verb]}{before}", soft_wrap=True)
        view.next_command(screen, f"list steps {trace_id} --watch")

    with reporting_late_decision():
        answer = session.request("POST", f"/v1/sagas/{part(trace_id)}/steps/{part(span_id)}/{verb}", body=given(**body))
    session.show(answer, decided)


def _held(session: CommandContext, trace_id: str, span_id: str | None) -> dict[str, Any]:
    """Return the saga's held step. Raises `Failure` if there is none."""
    items = session.request("GET", QUEUE, query={"trace_id": trace_id}).document["items"]
    found: list[dict[str, Any]] = [item for item in items if span_id in (None, item["step_span_id"])]
    if not found:
        saga = session.request("GET", f"/v1/sagas/{part(trace_id)}").document
        raise Failure(f"no such step is held: the saga is {saga['status']}")
    return found[0]
