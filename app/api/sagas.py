"""/v1/sagas: start, read and cancel sagas."""

from typing import Any
from uuid import UUID

from flask import Response, g, request

from adapters.otel.tracing import begin, running, traceparent
from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import accepted, json_response
from app.http.middleware import CALLER, SET_OFF
from app.http.problems import HTTPProblem
from app.openapi.operation import idempotent_request, operation
from app.schemas.sagas import (
    CancellingSchema,
    CancelSagaSchema,
    SagaListQuery,
    SagaPageSchema,
    SagaWithStepsSchema,
    StartedSchema,
    StartSchema,
)
from domain.identity.access import Permission
from domain.values import ids
from domain.values.errors import NotFound
from services.kernel.idempotency import RepeatedRequest
from services.sagas import lifecycle as use_cases
from services.sagas import queries as saga_queries
from services.sagas.lifecycle import StartRequest
from services.sagas.queries import SagaFilter
from services.sagas.shared_starts import StartCall, checked

sagas = Blueprint("sagas", __name__, url_prefix="/v1/sagas", description="Sequences of steps, undone in reverse order")


@operation(
    sagas,
    "POST",
    "/start",
    permission=Permission.SAGA_START,
    body=StartSchema,
    example={"name": "refund", "version": "1", "input": {"order": "A-1", "amount": 40}},
    answers={202: StartedSchema},
    creates=True,
    refuses=(404, 409),
)
def start_saga(body: dict[str, Any]) -> Response:
    """Start a saga

    The manifest's steps run in order. If one fails or is rejected, the completed steps are undone in reverse order.
    A namespace starts only one saga per `idempotency_key`, without a time limit.
    """
    trace_id = body.get("trace_id")
    wanted = StartRequest(
        namespace=body.get("namespace", g.principal.own_namespace),
        name=body["name"],
        version=body["version"],
        input=body["input"],
        idempotency_key=body.get("idempotency_key"),
        trace_id=None if trace_id is None else UUID(hex=trace_id),
    )
    try:
        started = deps().starts.do(checked(StartCall(g.principal, wanted, idempotent_request())))
    except RepeatedRequest as repeated:
        return accepted(repeated.answer, replayed=True)
    if started.is_new:
        _trace_start(wanted, started.trace_id)
    return accepted(use_cases.started_document(started.trace_id, started.is_new))


def _trace_start(wanted: StartRequest, trace_id: UUID) -> None:
    """Begin the saga's trace with a span that links to the caller's; the request's span links to the new one."""
    attributes = {"sagahold.saga": wanted.name, "sagahold.saga.version": wanted.version}
    attributes["sagahold.namespace"] = wanted.namespace
    caller = request.environ[CALLER]
    with running(begin(deps().tracer, f"start {wanted.name}", "internal", attributes, trace_id, cause=caller)) as span:
        request.environ[SET_OFF] = traceparent(span)


@operation(sagas, "GET", "", permission=Permission.SAGA_READ, query=SagaListQuery, answers={200: SagaPageSchema})
def list_sagas(query: dict[str, Any]) -> Response:
    """List sagas, newest first

    `in_flight` and `status` exclude each other.
    """
    wanted = page(query)
    statuses = tuple(query.pop("status", ()))
    if statuses and query["in_flight"]:
        raise HTTPProblem(400, "CONFLICTING_FILTERS", "in_flight and status exclude each other: send only one of them")
    trace_id = query.pop("trace_id", None)
    filters = SagaFilter(trace_id=None if trace_id is None else UUID(hex=trace_id), statuses=statuses, **query)
    found = saga_queries.list_sagas(deps().database, g.principal, filters, wanted)
    return json_response(list_document(found, lambda saga: saga))


@operation(
    sagas,
    "GET",
    "/<trace:trace_id>",
    permission=Permission.SAGA_READ,
    answers={200: SagaWithStepsSchema},
    refuses=(404,),
)
def get_saga(trace_id: str) -> Response:
    """Read a saga with its context and steps

    `context` is the data that bindings and expressions can use. The undos follow the steps.
    """
    return json_response(saga_queries.get_saga(deps().database, g.principal, trace(trace_id)))


@operation(
    sagas,
    "POST",
    "/<trace_id>/cancel",
    permission=Permission.SAGA_RECOVER,
    body=CancelSagaSchema,
    answers={202: CancellingSchema},
    refuses=(404, 409),
)
def cancel_saga(body: dict[str, Any], trace_id: str) -> Response:
    """Cancel a saga and undo its completed steps

    A running call finishes first. No further step starts, and the completed steps are undone, last step first.
    """
    status = use_cases.cancel_saga(deps().database, g.principal, trace(trace_id), body.get("reason"))
    return accepted({"status": "queued", "trace_id": trace_id, "saga_status": status})


def trace(text: str) -> UUID:
    """Parse the trace id in a path. Raises `NotFound` if it is malformed."""
    found = ids.parse("", text)
    if found is None:
        raise NotFound(f"{text[:64]!r} is not the trace id of a saga")
    return found
