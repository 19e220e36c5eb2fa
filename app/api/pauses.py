"""/api/pause: an agent holds its action, a person decides it."""

from datetime import timedelta
from typing import Any

from flask import Response, g, request

from app.api.paging import list_document, page
from app.api.pause_events import event_stream
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import created, json_response
from app.http.long_poll import hold, hold_any
from app.http.problems import refusal_document
from app.openapi.document import IF_NONE_MATCH, LAST_EVENT_ID
from app.openapi.operation import once, operation
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
from domain.pauses.creation import PauseRequest
from domain.pauses.pause import Approve, Cancel, Pause, Reject
from domain.pauses.serialization import pause_document
from domain.values.canonical_json import encode
from domain.values.errors import DomainError, FieldError, Invalid
from services.pauses import lifecycle as use_cases
from services.pauses.lifecycle import CreateRequest, Filter, actor, check_creation
from services.reviews import claims, decisions
from services.reviews.decided import list_decided
from services.reviews.decisions import DecisionRequest

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

    The action waits as one row until a person decides, it is cancelled, or its time runs out. Poll it, hold a
    `GET`, follow its events, or give a `callbackUrl`.
    """
    draft = PauseRequest(
        namespace=body.get("namespace", g.principal.own_namespace),
        action=body["action"],
        expires=_expiry(body),
        expires_by_default="expires_in" not in body and "expires_at" not in body,
        on_timeout=body.get("on_timeout"),
        priority=body["priority"],
        tags=tuple(body["tags"]),
        **{name: body.get(name) for name in _OPTIONAL},
    )
    request = check_creation(deps().database, CreateRequest(g.principal, draft, once()))
    made = deps().creations.do(request)
    return created(made.document, made.repeated, made.document["statusUrl"])


_OPTIONAL = (
    "context",
    "arguments",
    "arguments_schema",
    "callback_url",
    "review",
    "response_schema",
    "metadata",
    "external_id",
)


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

    An agent sees what its own identity created; people and operators see their namespaces. With `decided`, or a filter
    that begins so, the list has what waits no more, the latest decision first. With `ids` the answer has
    these, in that order, as soon as one of them is resolved; `missing` names those that the key does not see.
    """
    if "ids" in query:
        return _named(query["ids"], query.get("wait", 0))
    wanted = page(query)
    asked = Filter(**query)
    listed = list_decided if asked.of_decided else use_cases.list_pauses
    found = listed(deps().database, g.principal, asked, wanted)
    return json_response(list_document(found, _document))


def _named(wanted: list[str], seconds: float) -> Response:
    found, held = hold_any(wanted, seconds)
    documents = [_document(pause) for pause in found]
    seen = {document["watchId"] for document in documents}
    missing = [watch_id for watch_id in dict.fromkeys(wanted) if watch_id not in seen]
    whole = {"items": documents, "limit": len(wanted), "offset": 0, "next_cursor": None, "missing": missing}
    return json_response(whole, headers=None if held else {"Retry-After": "2"})


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

    With `wait` the answer is held until the pause is resolved. With `If-None-Match` an unchanged pause answers 304.
    """
    pause, held = hold(watch_id, query["wait"])
    response = Response(encode(_document(pause)), content_type="application/json")
    response.set_etag(_version(pause))
    if not held:
        # This process holds as many requests as it can: the client is told to poll instead.
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

    `pause.created`, perhaps `pause.escalated`, then the outcome; each with the pause as its data. The stream ends
    with the outcome.
    """
    return event_stream(watch_id, request.headers.get("Last-Event-ID"))


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

    A vote where the policy asks for several. With `arguments` exactly these are executed instead. Give the
    `revision` that you have read: another one by now is refused.
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

    A vote where the policy counts rejections. The agent is told, and does not act.
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

    Only while nothing is decided. Nobody is asked any more.
    """
    return _decide(watch_id, Cancel(actor(g.principal), **body))


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

    The others see it in their inbox. It forbids nobody to decide; `takeOver` takes it from somebody else.
    """
    return json_response(claims.claim(deps().database, g.principal, watch_id, **body))


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

    The others see that nobody works on it any more.
    """
    return json_response(claims.unclaim(deps().database, g.principal, watch_id))


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

    Each result stands in the place of its item, with the pause or the problem that the single decision would have
    had.
    """
    requests = [DecisionRequest(item.pop("watch_id"), _command(item)) for item in body["items"]]
    outcomes = decisions.decide_many(deps().database, g.principal, requests)
    results = [_result(request.watch_id, outcome) for request, outcome in zip(requests, outcomes, strict=True)]
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
    """Of what a reader sees: other than that nothing of a pause changes."""
    seen = [str(pause.revision), str(pause.status)]
    if pause.votes:
        seen.append(f"v{len(pause.votes)}")
    if pause.claim is not None:
        seen.append(f"c{pause.claim.at.timestamp()}")
    if pause.escalated_at is not None:
        # Later it may be given more time: then it does not escalate again.
        seen.append(f"e{pause.escalated_at.timestamp()}-{pause.on_timeout}")
    return "-".join(seen)


def _decide(watch_id: str, command: Approve | Reject | Cancel) -> Response:
    return json_response(decisions.decide_pause(deps().database, g.principal, watch_id, command))


def _document(pause: Pause) -> dict[str, Any]:
    return pause_document(pause, deps().database.public_url)


def _expiry(body: dict[str, Any]) -> Any:
    if "expires_at" in body:
        return body["expires_at"]
    seconds = body.get("expires_in", deps().pause_expires_in)
    return None if seconds is None else timedelta(seconds=seconds)
