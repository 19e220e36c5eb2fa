"""`sagahold pause …`: request a decision, wait for it, and decide."""

from typing import Any

import click

from cli.client import Failure, part
from cli.parameters import IDEMPOTENCY_KEY, JSON, NEVER, REVISION, SPAN, SPAN_OR_NEVER
from cli.pause_wait import wait_for
from cli.session import CommandContext, command, given, page_options
from cli.views.changes import PREVIEW, show_edit
from cli.views.output import console
from cli.views.pause import decided_view, describe, list_view, one_line, reporting_late_decision, use_view
from domain.identity.access import Role
from domain.pauses.consumption import MISSING, SETTLED, ExecutionStatus
from domain.pauses.pause import OnTimeout, Status
from domain.pauses.serialization import camel_case
from domain.values.canonical_json import digest

PATH = "/api/pause"
OUTCOMES = [MISSING, *(str(word) for word in ExecutionStatus)]
COMMENT = click.option("--comment", help="Tell the agent why.")
RESPONSE = click.option("--response", type=JSON, help="Give the answer that the pause's responseSchema requires.")


@click.group()
def pause() -> None:
    """Hold an action until a person has decided on it."""


@command(pause, "create", Role.AGENT)
@click.argument("action")
@click.option("--context", type=JSON, help="Show this object to the reviewer.")
@click.option("--arguments", type=JSON, help="Hold this object, which will be executed; a reviewer may edit it.")
@click.option("--arguments-schema", type=JSON, help="Check edits of the arguments against this JSON Schema.")
@click.option("--callback-url", help="Send a signed webhook with the outcome to this URL.")
@click.option(
    "--expires-in", type=SPAN_OR_NEVER, metavar="3600|2h|never", help="Let time run out after this (default 24h)."
)
@click.option(
    "--on-timeout",
    type=click.Choice([str(word) for word in OnTimeout]),
    help="Do this when time runs out (default: expire).",
)
@click.option("--review", type=JSON, help="Require this approval policy (default: the namespace's).")
@click.option("--external-id", help="Store your own id to find the pause by.")
@click.option("--approval-valid-for", type=SPAN, metavar="900|15m", help="Let the approval be used for this long.")
@click.option("--outcome-within", type=SPAN, metavar="900|15m", help="Report the outcome within this time of the use.")
@click.option("--tag", "tags", multiple=True, help="Add this tag (repeatable).")
@click.option("--namespace", help="Create the pause in this namespace (default: the key's).")
@click.option("--priority", type=int, help="Set the priority, 0 to 9.")
@click.option("--idempotency-key", type=IDEMPOTENCY_KEY, help="Create one pause even if the request repeats.")
@click.option("--wait", is_flag=True, help="Wait for the decision, as `pause wait` does.")
def create(session: CommandContext, idempotency_key: str | None, wait: bool, **options: Any) -> None:
    """Request a decision on ACTION."""
    answer = session.request("POST", PATH, body=_body(**options), headers=given(**{"Idempotency-Key": idempotency_key}))
    if wait and not session.as_json:
        one_line(console(), answer.document)
    if wait:
        _wait(session, answer.document["watchId"], None)
    else:
        session.show(answer, one_line)


def _body(tags: tuple[str, ...], expires_in: int | str | None, **options: Any) -> dict[str, Any]:
    body = {camel_case(name): value for name, value in given(**options).items()}
    if tags:
        body["tags"] = list(tags)
    if expires_in is not None:
        body["expiresIn"] = None if expires_in == NEVER else expires_in
    return body


@command(pause, "get", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
def get(session: CommandContext, watch_id: str) -> None:
    """Show a pause: its action, its context and its status."""
    session.show(session.request("GET", f"{PATH}/{part(watch_id)}"), describe)


@command(pause, "wait", Role.AGENT)
@click.argument("watch_id", metavar="ID")
@click.option("--timeout", type=SPAN, metavar="90|15m", help="Stop waiting after this time (default: no limit).")
def wait(session: CommandContext, watch_id: str, timeout: int | None) -> None:
    """Wait for the decision.

    Exit with status 0 if the pause is approved, 1 otherwise.
    """
    _wait(session, watch_id, timeout)


def _wait(session: CommandContext, watch_id: str, timeout: int | None) -> None:
    answer = wait_for(session, watch_id, timeout)
    status = answer.document["status"]
    session.show(answer, one_line)
    if status == Status.PENDING:
        raise Failure(f"{watch_id} is still pending after {timeout} s")
    if status != Status.APPROVED:
        raise Failure(f"{watch_id} was not approved: {status}")


@command(pause, "list", Role.REVIEWER)
@click.option("--status", type=click.Choice([str(word) for word in Status]), help="List only pauses with this status.")
@click.option("--namespace", help="List only pauses in this namespace.")
@click.option("--tag", help="List only pauses with this tag.")
@click.option("--external-id", help="List only pauses with this external id.")
@click.option("--door", help="List only pauses that came through this door, such as mcp or python-sdk.")
@click.option("--search", metavar="TEXT", help="List only pauses whose action contains TEXT.")
@click.option("--kind", type=click.Choice(["agent", "step"]), help="List only agents' pauses, or only held steps.")
@click.option(
    "--created-after", metavar="TIME", help="List only pauses created after this time, such as 2026-03-30T21:00:00Z."
)
@click.option("--created-before", metavar="TIME", help="List only pauses created before this time.")
@click.option("--consumed/--not-consumed", default=None, help="List only used, or only unused approvals.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="List only used approvals with this outcome.")
@click.option("--decided", is_flag=True, help="List decided pauses with who decided and when, latest first.")
@click.option("--decided-by", metavar="WHO", help="List only decisions by this id, full name, or me.")
@click.option("--decided-after", metavar="TIME", help="List only decisions after this time.")
@click.option("--decided-before", metavar="TIME", help="List only decisions before this time.")
@page_options
def list_(
    session: CommandContext,
    search: str | None,
    external_id: str | None,
    decided: bool,
    consumed: bool | None,
    **filters: Any,
) -> None:
    """List pauses, newest first.

    --decided-by, --decided-after and --decided-before imply --decided.
    """
    query = given(q=search, externalId=external_id, **filters)
    if consumed is not None:
        query["consumed"] = str(consumed).lower()
    if consumed is False and "status" not in query:
        query["status"] = str(Status.APPROVED)
    if decided:
        query["decided"] = "true"
    by_use = query.keys() & {"consumed", "outcome"}
    by_decision = any(name.startswith("decided") for name in query)
    view = use_view if by_use else decided_view if by_decision else list_view
    session.show(session.request("GET", PATH, query=query), view)


@command(pause, "approve", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
@COMMENT
@click.option("--arguments", type=JSON, help="Execute this object instead of the agent's arguments.")
@RESPONSE
@REVISION
@PREVIEW
def approve(session: CommandContext, watch_id: str, preview: bool, **decision: Any) -> None:
    """Approve the action.

    Each change that --arguments makes is shown.
    """
    edit = decision["arguments"]
    if preview and edit is None:
        raise click.UsageError("--preview needs --arguments")
    if edit is not None and (preview or not session.as_json):
        held = session.request("GET", f"{PATH}/{part(watch_id)}").document
        show_edit(session, held["agentContext"]["arguments"], edit, "arguments", preview=preview)
    if preview:
        return
    _decide(session, watch_id, "approve", decision)


@command(pause, "reject", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
@COMMENT
@RESPONSE
@REVISION
def reject(session: CommandContext, watch_id: str, **decision: Any) -> None:
    """Reject the action."""
    _decide(session, watch_id, "reject", decision)


@command(pause, "claim", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
@click.option("--take-over", is_flag=True, help="Take over another person's claim.")
def claim(session: CommandContext, watch_id: str, take_over: bool) -> None:
    """Claim a pause for 15 minutes.

    Others see that you are reviewing it.
    """
    _decide(session, watch_id, "claim", {"takeOver": take_over})


@command(pause, "unclaim", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
def unclaim(session: CommandContext, watch_id: str) -> None:
    """Release your claim."""
    _decide(session, watch_id, "unclaim", {})


@command(pause, "consume", Role.AGENT)
@click.argument("watch_id", metavar="ID")
@click.option(
    "--idempotency-key", type=IDEMPOTENCY_KEY, required=True, help="Identify this use; the same key may repeat it."
)
@click.option("--arguments", type=JSON, help="Check that exactly this object was approved.")
def consume(session: CommandContext, watch_id: str, idempotency_key: str, arguments: Any) -> None:
    """Use the approval, once.

    Run the action only if this exits with status 0. Only the creator of a pause may use its approval. The same key
    exits with 0 again, although the action may have run: choose another key for each start of your script.
    """
    body = {} if arguments is None else {"argumentsDigest": digest(arguments).hex()}
    headers = {"Idempotency-Key": idempotency_key}
    session.show(session.request("POST", f"{PATH}/{part(watch_id)}/consume", body=body, headers=headers), one_line)


@command(pause, "outcome", Role.AGENT)
@click.argument("watch_id", metavar="ID")
@click.argument("status", type=click.Choice([str(word) for word in ExecutionStatus]))
@click.option("--note", help="Tell people more.")
@click.option("--result", type=JSON, help="Report this result of the action, up to 64 KiB.")
def outcome(session: CommandContext, watch_id: str, **report: Any) -> None:
    """Report the outcome of the approved action.

    The first report counts. Only the creator of a pause may report.
    """
    session.show(session.request("POST", f"{PATH}/{part(watch_id)}/outcome", body=given(**report)), one_line)


@command(pause, "settle", Role.OPERATOR)
@click.argument("watch_id", metavar="ID")
@click.argument("status", type=click.Choice([str(word) for word in SETTLED]))
@click.option("--note", required=True, help="Say how you know.")
def settle(session: CommandContext, watch_id: str, status: str, note: str) -> None:
    """Settle an unknown or missing outcome.

    First find out whether the action took effect.
    """
    body = {"status": status, "note": note}
    session.show(session.request("POST", f"{PATH}/{part(watch_id)}/settle", body=body), one_line)


@command(pause, "cancel", Role.AGENT)
@click.argument("watch_id", metavar="ID")
@COMMENT
def cancel(session: CommandContext, watch_id: str, **decision: Any) -> None:
    """Withdraw the request.

    Only its creator may cancel a pause.
    """
    _decide(session, watch_id, "cancel", decision)


def _decide(session: CommandContext, watch_id: str, verb: str, decision: dict[str, Any]) -> None:
    with reporting_late_decision():
        answer = session.request("POST", f"{PATH}/{part(watch_id)}/{verb}", body=given(**decision))
    session.show(answer, one_line)
