"""/api/pause: an agent holds its action, and a person decides."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Response, g, request

from app.api.paging import list_document, page
from app.api.pause_events import event_stream
from app.deps import deps
from app.http import creation
from app.http.arguments import Blueprint
from app.http.decisions import decide_each, decide_pause
from app.http.json_response import created, json_response, replayable
from app.http.long_poll import hold, hold_any
from app.http.problems import refusal_document
from app.openapi.document import CONSUMPTION_KEY, IF_NONE_MATCH, LAST_EVENT_ID
from app.openapi.operation import idempotent_request, operation, required_key
from app.schemas.executions import ConsumeSchema, OutcomeSchema, SettleSchema
from app.schemas.pauses import (
    NOT_EXECUTED,
    ApproveSchema,
    CancelSchema,
    ClaimSchema,
    DecisionsSchema,
    PauseDraftSchema,
    PauseListQuery,
    PausePageSchema,
    PauseQuery,
    PauseSchema,
    RejectSchema,
    ResultsSchema,
    UnclaimSchema,
)
from domain.identity.access import Permission
from domain.pauses.consumption import ExecutionStatus
from domain.pauses.content import CONTENT_FIELDS
from domain.pauses.creation import PauseRequest
from domain.pauses.pause import Approve, Cancel, Pause, Reject
from domain.pauses.serialization import pause_document, pause_id
from domain.values import ids
from domain.values.canonical_json import encode
from domain.values.errors import DomainError, FieldError, Invalid
from services.pauses import execution
from services.pauses import queries as use_cases
from services.pauses.lifecycle import actor
from services.pauses.queries import Filter
from services.reviews import claims
from services.reviews.decided import list_decided

pauses = Blueprint("pauses", __name__, url_prefix="/api", description="Hold an action until a person has decided")


@operation(
    pauses,
    "POST",
    "/pause",
    permission=Permission.PAUSE_CREATE,
    body=PauseDraftSchema,
    example={"action": "Deploy to production (v2.4.1)", "context": {"environment": "prod", "commit": "a3f9b2e"}},
    answers={201: PauseSchema, 200: PauseSchema},
    sends=["Location"],
    creates=True,
)
def create_pause(body: dict[str, Any]) -> Response:
    """Hold an action for review

    The action waits until a person decides, its agent cancels it, or its time runs out. Poll it, make a long poll,
    follow its events, or give a `callbackUrl`.
    """
    wanted = PauseRequest(
        namespace=body.get("namespace", g.principal.own_namespace),
        action=body["action"],
        expires=_expiry(body),
        expires_by_default="expires_in" not in body and "expires_at" not in body,
        on_timeout=body.get("on_timeout"),
        review=body.get("review"),
        **{name: body[name] for name in CONTENT_FIELDS if name in body},
    )
    made = creation.create_pause(wanted, idempotent_request())
    return created(made.document, made.repeated, made.document["statusUrl"])


@operation(
    pauses,
    "GET",
    "/pause",
    permission=Permission.PAUSE_READ,
    query=PauseListQuery,
    answers={200: PausePageSchema},
)
def list_pauses(query: dict[str, Any]) -> Response:
    """List pauses, the newest first; or wait for several (`?ids=…,…&wait=60`)

    An agent sees the pauses that it created; people and operators see their namespaces. With a filter that begins with
    `decided`, the list has resolved pauses, the latest decision first. With `ids` the response comes as soon as one of
    these is resolved, and has them in that order. `missing` names those that the key cannot see.
    """
    if "ids" in query:
        return _named(query["ids"], query.get("wait", 0))
    wanted = page(query)
    filters = Filter(**query)
    listed = list_decided if filters.of_decided else use_cases.list_pauses
    found = listed(deps().database, g.principal, filters, wanted)
    return json_response(list_document(found, _document))


def _named(wanted: list[UUID], seconds: float) -> Response:
    found, held = hold_any(wanted, seconds)
    seen = {pause.id for pause in found}
    page_document = {
        "items": [_document(pause) for pause in found],
        "limit": len(wanted),
        "offset": 0,
        "next_cursor": None,
        "missing": [ids.text(ids.WATCH, id_) for id_ in dict.fromkeys(wanted) if id_ not in seen],
    }
    return json_response(page_document, headers=None if held else {"Retry-After": "2"})


@operation(
    pauses,
    "GET",
    "/pause/<watch:watch_id>",
    permission=Permission.PAUSE_READ,
    query=PauseQuery,
    reads=[IF_NONE_MATCH],
    answers={200: PauseSchema, 304: None},
    sends=["ETag"],
    refuses=(404,),
)
def get_pause(query: dict[str, Any], watch_id: str) -> Response:
    """Read a pause, or wait until it is resolved (`?wait=60`)

    With `wait` the response comes when the pause is resolved or the time is up. With `If-None-Match` an unchanged pause
    yields 304.
    """
    pause, held = hold(pause_id(watch_id), query["wait"])
    response = Response(encode(_document(pause)), content_type="application/json")
    response.set_etag(_version(pause))
    if not held:
        # This process has no room for another long poll, so the client has to poll.
        response.headers["Retry-After"] = "2"
    response.make_conditional(request)
    return response


@operation(
    pauses,
    "GET",
    "/pause/<watch_id>/events",
    permission=Permission.PAUSE_READ,
    reads=[LAST_EVENT_ID],
    answers={200: "text/event-stream"},
    refuses=(404,),
)
def stream_pause_events(watch_id: str) -> Response:
    """Follow a pause as Server-Sent Events, resumable with `Last-Event-ID`

    The events are `pause.created`, `pause.escalated` if that happens, and the outcome. Each has the pause as its data.
    The stream ends with the outcome.
    """
    return event_stream(pause_id(watch_id), request.headers.get("Last-Event-ID"))


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/approve",
    permission=Permission.PAUSE_DECIDE,
    body=ApproveSchema,
    example={"comment": "Go ahead"},
    answers={200: PauseSchema},
    refuses=(404, 409),
)
def approve_pause(body: dict[str, Any], watch_id: str) -> Response:
    """Approve (or, with `decision`, reject)

    This is one vote if the policy needs several. With `arguments`, exactly these are executed instead of the posted
    ones. Give the `revision` that you have read; the request fails if the pause has another one by now.
    """
    return _decide(watch_id, _command(body))


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/reject",
    permission=Permission.PAUSE_DECIDE,
    body=RejectSchema,
    example={"comment": "Not before the freeze ends"},
    answers={200: PauseSchema},
    refuses=(404, 409),
)
def reject_pause(body: dict[str, Any], watch_id: str) -> Response:
    """Reject

    This is one vote if the policy counts rejections. A rejected action must not be executed.
    """
    return _decide(watch_id, Reject(actor(g.principal), **body))


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/cancel",
    permission=Permission.PAUSE_CANCEL,
    body=CancelSchema,
    answers={200: PauseSchema},
    refuses=(404, 409),
)
def cancel_pause(body: dict[str, Any], watch_id: str) -> Response:
    """Take the request back (its creator)

    This is possible only while the pause is pending. It leaves the inbox.
    """
    return _decide(watch_id, Cancel(actor(g.principal), **body))


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/consume",
    permission=Permission.PAUSE_CONSUME,
    body=ConsumeSchema,
    reads=[CONSUMPTION_KEY],
    answers={200: PauseSchema},
    sends=["Idempotent-Replayed"],
    refuses=(404, 409),
)
def consume_pause(body: dict[str, Any], watch_id: str) -> Response:
    """Use the approval, once (its creator)

    Call this immediately before you execute the action, and execute it only after a 200. Exactly one key succeeds, and
    a repetition of that key gets the same answer, with `Idempotent-Replayed: true`. It does not tell whether the action
    ran: find out, or report `unknown`.
    """
    key = required_key("it identifies this use of the approval; choose one key for each action, and keep it")
    used = execution.consume_pause(deps().database, g.principal, pause_id(watch_id), key, body.get("arguments_digest"))
    return replayable(used.document, used.repeated)


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/outcome",
    permission=Permission.PAUSE_CONSUME,
    body=OutcomeSchema,
    example={"status": "succeeded", "note": "refund R-7", "result": {"id": "R-7"}},
    answers={200: PauseSchema},
    sends=["Idempotent-Replayed"],
    refuses=(404, 409),
)
def report_outcome(body: dict[str, Any], watch_id: str) -> Response:
    """Report the outcome of the approved action (its creator)

    The first report counts. The same report again gets the same answer, another one gets 409.
    """
    wanted = execution.OutcomeReport(**body)
    reported = execution.report_outcome(deps().database, g.principal, pause_id(watch_id), wanted)
    return replayable(reported.document, reported.repeated)


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/settle",
    permission=Permission.OUTCOME_SETTLE,
    body=SettleSchema,
    example={"status": "succeeded", "note": "the ledger has refund R-7"},
    answers={200: PauseSchema},
    sends=["Idempotent-Replayed"],
    refuses=(404, 409),
)
def settle_outcome(body: dict[str, Any], watch_id: str) -> Response:
    """Settle an unknown or missing outcome (operators)

    Find out whether the action took effect, then record it here. An outcome that the agent knows does not change, and
    while its report is not due, only the agent may report.
    """
    status = ExecutionStatus(body["status"])
    settled = execution.settle_outcome(deps().database, g.principal, pause_id(watch_id), status, body["note"])
    return replayable(settled.document, settled.repeated)


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/claim",
    permission=Permission.PAUSE_DECIDE,
    body=ClaimSchema,
    answers={200: PauseSchema},
    refuses=(404, 409),
)
def claim_pause(body: dict[str, Any], watch_id: str) -> Response:
    """Tell the others that you work on this review, for a quarter of an hour

    The other reviewers see the claim in their inbox. They may still decide. `takeOver` replaces another's
    claim.
    """
    return json_response(claims.claim(deps().database, g.principal, pause_id(watch_id), **body))


@operation(
    pauses,
    "POST",
    "/pause/<watch_id>/unclaim",
    permission=Permission.PAUSE_DECIDE,
    body=UnclaimSchema,
    answers={200: PauseSchema},
    refuses=(404, 409),
)
def unclaim_pause(body: dict[str, Any], watch_id: str) -> Response:
    """Give a claim back

    The other reviewers see that the review is free again.
    """
    return json_response(claims.unclaim(deps().database, g.principal, pause_id(watch_id)))


@operation(
    pauses,
    "POST",
    "/pause/decisions",
    permission=Permission.PAUSE_DECIDE,
    body=DecisionsSchema,
    example={"items": [{"watchId": "wch_0190a5c0d7e87c6a9a4d7b7f6f2c1d3e", "decision": "approve"}]},
    answers={200: ResultsSchema},
)
def decide_pauses(body: dict[str, Any]) -> Response:
    """Decide on up to 100 reviews: each by itself, one that fails undoes no other

    The results are in the order of the items. Each has the pause, or the problem that the single decision would have
    returned.
    """
    items = [(item.pop("watch_id"), _command(item)) for item in body["items"]]
    results = [_result(watch_id, outcome) for (watch_id, _), outcome in zip(items, decide_each(items), strict=True)]
    return json_response({"results": results})


def _result(watch_id: str, outcome: dict[str, Any] | DomainError) -> dict[str, Any]:
    if isinstance(outcome, DomainError):
        return {"watchId": watch_id, "status": "error", "problem": refusal_document(outcome)}
    return {"watchId": watch_id, "status": "ok", "pause": outcome}


def _command(body: dict[str, Any]) -> Approve | Reject:
    decision, arguments = body.pop("decision"), body.pop("arguments", None)
    if decision == "approve":
        return Approve(actor(g.principal), arguments=arguments, **body)
    if arguments is not None:
        raise Invalid([FieldError("arguments", NOT_EXECUTED)])
    return Reject(actor(g.principal), **body)


def _version(pause: Pause) -> str:
    """Return the ETag: everything in the document of a pause that can change."""
    parts = [str(pause.revision), str(pause.status)]
    if pause.votes:
        parts.append(f"v{len(pause.votes)}")
    if pause.claim is not None:
        parts.append(f"c{pause.claim.at.timestamp()}")
    if pause.escalated_at is not None:
        # The timeout may still extend an escalated pause, and it then changes `on_timeout`.
        parts.append(f"e{pause.escalated_at.timestamp()}-{pause.on_timeout}")
    if pause.consumption is not None:
        parts.append("used" if (report := pause.consumption.report) is None else f"used-{report.at.timestamp()}")
    return "-".join(parts)


def _decide(watch_id: str, command: Approve | Reject | Cancel) -> Response:
    return json_response(decide_pause(g.principal, pause_id(watch_id), command))


def _document(pause: Pause) -> dict[str, Any]:
    return pause_document(pause, deps().database.public_url)


def _expiry(body: dict[str, Any]) -> Any:
    if "expires_at" in body:
        return body["expires_at"]
    seconds = body.get("expires_in", deps().pause_expires_in)
    return None if seconds is None else timedelta(seconds=seconds)
