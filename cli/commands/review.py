"""`sagahold review …`: the steps that wait for a person, and the decision on each."""

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
from cli.views.pause import too_late
from domain.identity.access import Role
from domain.manifests.definition import StepKind

QUEUE = "/v1/sagas/pending-review"
TRACE = click.argument("trace_id", metavar="TRACE")
# A saga has at most one step at a time that waits.
SPAN = click.argument("span_id", metavar="[SPAN]", required=False)
COMMENT = click.option("--comment", help="Why; it is kept.")


@click.group()
def review() -> None:
    """Decide on steps that are held."""


@command(review, "list", Role.REVIEWER)
@click.option("--trace-id", metavar="TRACE")
@click.option("--namespace")
@click.option("--kind", type=click.Choice([str(kind) for kind in StepKind]))
@page_options
def list_(session: CommandContext, **query: Any) -> None:
    """List what waits for a person, the longest waiting first."""
    session.show(session.ask("GET", QUEUE, query=query), review_view.queue)


@command(review, "show", Role.REVIEWER)
@TRACE
@SPAN
def show(session: CommandContext, trace_id: str, span_id: str | None) -> None:
    """Show what will be executed when the step is approved."""
    item = _waiting(session, trace_id, span_id)
    if session.as_json:
        click.echo(json.dumps(item, ensure_ascii=False))
        return
    pause = session.ask("GET", f"/api/pause/{part(item['watch_id'])}").document
    review_view.describe(console(), item, pause)


@command(review, "approve", Role.REVIEWER)
@TRACE
@SPAN
@COMMENT
@click.option("--output", type=JSON, help="An object, of a reason step: instead of what it has found.")
@REVISION
@PREVIEW
def approve(session: CommandContext, trace_id: str, span_id: str | None, preview: bool, **body: Any) -> None:
    """Let the step go ahead. An edit of its output is shown place by place."""
    if preview and body["output"] is None:
        raise click.UsageError("--preview shows what --output changes: give both")
    if body["output"] is not None and (preview or not session.as_json):
        _show_edit(session, trace_id, span_id, body["output"], preview)
    if preview:
        return
    _decide(session, trace_id, span_id, "approve", body)


def _show_edit(session: CommandContext, trace_id: str, span_id: str | None, output: Any, preview: bool) -> None:
    """Where the step is held no more the server says what there is instead."""
    items = session.ask("GET", QUEUE, query={"trace_id": trace_id}).document["items"]
    held = [item for item in items if span_id in (None, item["step_span_id"])]
    if held and held[0]["review_subject"] == "output":
        found = held[0]["review_payload"]
        wrapped = isinstance(output, dict) and output.keys() == {"data"} and "data" not in found
        show_edit(session, found, output["data"] if wrapped else output, "output", preview=preview)
    elif preview:
        raise Failure("no output of a reason step is held there: nothing can be edited")


@command(review, "reject", Role.REVIEWER)
@TRACE
@SPAN
@COMMENT
@click.option("--error-details", type=JSON, help="An object or a string, for the step's error.")
@REVISION
def reject(session: CommandContext, trace_id: str, span_id: str | None, **body: Any) -> None:
    """Say no: what was done before is undone."""
    _decide(session, trace_id, span_id, "reject", body)


@command(review, "retry", Role.REVIEWER)
@TRACE
@SPAN
@click.option("--guidance", help="What to do better.")
@click.option("--retry-token", help="Yours: said again, it counts once.")
@REVISION
def retry(session: CommandContext, trace_id: str, span_id: str | None, **body: Any) -> None:
    """Have the step run and held again."""
    _decide(session, trace_id, span_id, "retry", body)


# By whom: others may still have to.
_DONE = {"approve": "approved by you", "reject": "rejected by you", "retry": "to be run again"}


def _decide(session: CommandContext, trace_id: str, span_id: str | None, verb: str, body: dict[str, Any]) -> None:
    span_id = span_id or _waiting(session, trace_id, None)["step_span_id"]

    def told(screen: Console, document: dict[str, Any]) -> None:
        before = " (already before)" if document["status"] == "already_queued" else ""
        screen.print(f"{clean(span_id)} {_DONE[verb]}{before}", soft_wrap=True)
        view.next_command(screen, f"list steps {trace_id} --watch")

    with too_late():
        answer = session.ask("POST", f"/v1/sagas/{part(trace_id)}/steps/{part(span_id)}/{verb}", body=given(**body))
    session.show(answer, told)


def _waiting(session: CommandContext, trace_id: str, span_id: str | None) -> dict[str, Any]:
    """What of the saga waits for a person. Raises `Failure` when nothing does."""
    items = session.ask("GET", QUEUE, query={"trace_id": trace_id}).document["items"]
    found: list[dict[str, Any]] = [item for item in items if span_id in (None, item["step_span_id"])]
    if not found:
        saga = session.ask("GET", f"/v1/sagas/{part(trace_id)}").document
        raise Failure(f"nothing there waits for a review: the saga is {saga['status']}")
    return found[0]
