"""`sagahold pause …`: hold an action, wait for its decision, decide."""

from typing import Any

import click

from cli.client import Failure, part
from cli.parameters import IDEMPOTENCY_KEY, JSON, NEVER, REVISION, SPAN, SPAN_OR_NEVER
from cli.pause_wait import wait_for
from cli.session import CommandContext, command, given, page_options
from cli.views.changes import PREVIEW, show_edit
from cli.views.output import console
from cli.views.pause import decided_view, describe, list_view, one_line, too_late
from domain.identity.access import Role
from domain.pauses.pause import OnTimeout, Status

PATH = "/api/pause"
COMMENT = click.option("--comment", help="Why; the agent is told.")
RESPONSE = click.option("--response", type=JSON, help="The answer that the pause's responseSchema asks for.")


@click.group()
def pause() -> None:
    """Hold an action until a person has decided on it."""


@command(pause, "create", Role.AGENT)
@click.argument("action")
@click.option("--context", type=JSON, help="An object: whatever helps the reviewer.")
@click.option("--arguments", type=JSON, help="An object: exactly what will be executed; a reviewer may edit it.")
@click.option("--arguments-schema", type=JSON, help="A JSON Schema of the arguments, which an edit has to fit.")
@click.option("--callback-url", help="Gets a signed webhook with the outcome.")
@click.option("--expires-in", type=SPAN_OR_NEVER, metavar="3600|2h|never", help="Default: the server's, 24h.")
@click.option(
    "--on-timeout",
    type=click.Choice([str(word) for word in OnTimeout]),
    help="What then happens; default expire.",
)
@click.option("--review", type=JSON, help="An object: the review policy; default: the namespace's.")
@click.option("--external-id", help="Your own name for it, to find it by.")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--namespace", help="Default: the key's own.")
@click.option("--priority", type=int, help="0 to 9.")
@click.option("--idempotency-key", type=IDEMPOTENCY_KEY, help="Said again, it makes no second pause.")
@click.option("--wait", is_flag=True, help="Then wait for the decision, as `pause wait` does.")
def create(session: CommandContext, idempotency_key: str | None, wait: bool, **options: Any) -> None:
    """Ask for a decision on ACTION."""
    answer = session.ask("POST", PATH, body=_draft(**options), headers=given(**{"Idempotency-Key": idempotency_key}))
    if wait and not session.as_json:
        one_line(console(), answer.document)
    if wait:
        _wait(session, answer.document["watchId"], None)
    else:
        session.show(answer, one_line)


def _draft(tags: tuple[str, ...], expires_in: int | str | None, **options: Any) -> dict[str, Any]:
    names = {"arguments_schema": "argumentsSchema", "callback_url": "callbackUrl", "on_timeout": "onTimeout"}
    names["external_id"] = "externalId"
    draft = {names.get(name, name): value for name, value in given(**options).items()}
    if tags:
        draft["tags"] = list(tags)
    if expires_in is not None:
        draft["expiresIn"] = None if expires_in == NEVER else expires_in
    return draft


@command(pause, "get", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
def get(session: CommandContext, watch_id: str) -> None:
    """Show a pause: what is to be done, why, and how it stands."""
    session.show(session.ask("GET", f"{PATH}/{part(watch_id)}"), describe)


@command(pause, "wait", Role.AGENT)
@click.argument("watch_id", metavar="ID")
@click.option(
    "--timeout", type=SPAN, metavar="90|15m", help="Give up after this time; default: wait as long as it takes."
)
def wait(session: CommandContext, watch_id: str, timeout: int | None) -> None:
    """Wait for the decision. Exit status 0: approved; 1: anything else."""
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
@click.option("--status", type=click.Choice([str(word) for word in Status]))
@click.option("--namespace")
@click.option("--tag")
@click.option("--external-id", help="The agent's own name for it.")
@click.option("--search", metavar="TEXT", help="Part of the action.")
@click.option("--kind", type=click.Choice(["agent", "step"]))
@click.option("--created-after", metavar="TIME", help="As 2026-03-30T21:00:00Z.")
@click.option("--created-before", metavar="TIME")
@click.option("--decided", is_flag=True, help="What waits no more: who decided, and when; the latest first.")
@click.option("--decided-by", metavar="WHO", help="An id, a whole name, or me; implies --decided.")
@click.option("--decided-after", metavar="TIME", help="Implies --decided.")
@click.option("--decided-before", metavar="TIME", help="Implies --decided.")
@page_options
def list_(session: CommandContext, search: str | None, external_id: str | None, decided: bool, **filters: Any) -> None:
    """List pauses, the newest first."""
    asked = given(q=search, externalId=external_id, **filters)
    if decided:
        asked["decided"] = "true"
    by_decision = any(name.startswith("decided") for name in asked)
    session.show(session.ask("GET", PATH, query=asked), decided_view if by_decision else list_view)


@command(pause, "approve", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
@COMMENT
@click.option("--arguments", type=JSON, help="An object: execute this instead of what the agent posted.")
@RESPONSE
@REVISION
@PREVIEW
def approve(session: CommandContext, watch_id: str, preview: bool, **decision: Any) -> None:
    """Let the action go ahead. An edit of its arguments is shown place by place."""
    edit = decision["arguments"]
    if preview and edit is None:
        raise click.UsageError("--preview shows what --arguments changes: give both")
    if edit is not None and (preview or not session.as_json):
        held = session.ask("GET", f"{PATH}/{part(watch_id)}").document
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
    """Say no to the action."""
    _decide(session, watch_id, "reject", decision)


@command(pause, "claim", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
@click.option("--take-over", is_flag=True, help="Although somebody else works on it.")
def claim(session: CommandContext, watch_id: str, take_over: bool) -> None:
    """Tell the others that you work on it, for a quarter of an hour."""
    _decide(session, watch_id, "claim", {"takeOver": take_over})


@command(pause, "unclaim", Role.REVIEWER)
@click.argument("watch_id", metavar="ID")
def unclaim(session: CommandContext, watch_id: str) -> None:
    """Give your claim back."""
    _decide(session, watch_id, "unclaim", {})


@command(pause, "cancel", Role.AGENT)
@click.argument("watch_id", metavar="ID")
@COMMENT
def cancel(session: CommandContext, watch_id: str, **decision: Any) -> None:
    """Take the request back, as its creator."""
    _decide(session, watch_id, "cancel", decision)


def _decide(session: CommandContext, watch_id: str, verb: str, decision: dict[str, Any]) -> None:
    with too_late():
        answer = session.ask("POST", f"{PATH}/{part(watch_id)}/{verb}", body=given(**decision))
    session.show(answer, one_line)
