"""How long data is kept: the rule of a namespace, and legal holds."""

from typing import Any

from flask import Response, g

from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import created, json_response
from app.openapi.operation import idempotent_request, operation
from app.schemas.retention import (
    HoldQuery,
    HoldReleaseSchema,
    HoldSchema,
    HoldsSchema,
    NewHoldSchema,
    RetentionChangeSchema,
    RetentionSchema,
)
from domain.identity.access import Permission
from services.operations import retention_rules as use_cases

retention = Blueprint("retention", __name__, url_prefix="/v1", description="How long data is kept, and legal holds")
MANAGE = Permission.RETENTION_MANAGE


@operation(
    retention,
    "GET",
    "/namespaces/<namespace>/retention",
    permission=MANAGE,
    answers={200: RetentionSchema},
    refuses=(404,),
)
def read_retention(namespace: str) -> Response:
    """Read how long a namespace keeps its data

    Null means the server's default, SAGAHOLD_RETENTION_DAYS.
    """
    return json_response(use_cases.get_rule(deps().database, g.principal, namespace))


@operation(
    retention,
    "PUT",
    "/namespaces/<namespace>/retention",
    permission=MANAGE,
    body=RetentionChangeSchema,
    example={"decision_days": 400, "message_days": 30},
    answers={200: RetentionSchema},
    refuses=(404,),
)
def change_retention(body: dict[str, Any], namespace: str) -> Response:
    """Set how long a namespace keeps its data

    For a day after a change, nothing of the namespace is deleted. Less than six months for decisions needs
    `below_six_months: true`. The audit log is not affected.
    """
    return json_response(use_cases.put_rule(deps().database, g.principal, namespace, **body))


@operation(
    retention,
    "POST",
    "/legal-holds",
    permission=MANAGE,
    body=NewHoldSchema,
    example={"namespace": "default", "reason": "Case 2026-17"},
    answers={201: HoldSchema, 200: HoldSchema},
    refuses=(404,),
    creates=True,
)
def place_hold(body: dict[str, Any]) -> Response:
    """Place a legal hold

    It keeps a pause, a saga with its held steps, or all data of a namespace, until it is released.
    """
    return created(*use_cases.place_hold(deps().database, g.principal, **body, request=idempotent_request()))


@operation(retention, "GET", "/legal-holds", permission=MANAGE, query=HoldQuery, answers={200: HoldsSchema})
def list_holds(query: dict[str, Any]) -> Response:
    """List the legal holds, newest first

    The list has those of the caller's namespaces, and those of all namespaces.
    """
    return json_response({"items": use_cases.list_holds(deps().database, g.principal, **query)})


@operation(
    retention,
    "POST",
    "/legal-holds/<hold_id>/release",
    permission=MANAGE,
    body=HoldReleaseSchema,
    example={"reason": "Case 2026-17 is closed"},
    answers={200: HoldSchema},
    refuses=(404, 409),
)
def release_hold(body: dict[str, Any], hold_id: str) -> Response:
    """Release a legal hold

    After a day, the retention of the namespace applies again.
    """
    return json_response(use_cases.release_hold(deps().database, g.principal, hold_id, body["reason"]))
