"""/v1/audit-events and /v1/audit/…: who changed what, whether the log is whole, and all of it to keep elsewhere."""

from typing import Any

from flask import Response, g

from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import json_response
from app.openapi.operation import operation
from app.schemas.audit import AuditChainQuery, AuditListQuery, AuditPageSchema, AuditVerifyQuery, VerdictSchema
from domain.identity.access import Permission
from services.log import audit as use_cases
from services.log.audit import EventFilter
from services.log.row_verification import verify_rows

audit = Blueprint("audit", __name__, url_prefix="/v1", description="The audit log: append-only, chained by hashes")
JSON_LINES = "application/x-ndjson"


@operation(
    audit,
    "GET",
    "/audit-events",
    permission=Permission.AUDIT_READ,
    query=AuditListQuery,
    answers={200: AuditPageSchema},
)
def list_audit_events(query: dict[str, Any]) -> Response:
    """List what was changed in one namespace, the newest first

    Each with digests of the thing before and after, and who did it from where.
    """
    wanted = page(query)
    found = use_cases.list_events(deps().database, g.principal, EventFilter(**query), wanted)
    return json_response(list_document(found, lambda event: event))


@operation(
    audit,
    "GET",
    "/audit/verify",
    permission=Permission.AUDIT_READ,
    query=AuditVerifyQuery,
    answers={200: VerdictSchema},
)
def verify_audit_log(query: dict[str, Any]) -> Response:
    """Look for rows that were changed, removed or put in; names the first one

    Every row's hash covers the row before it: one that was changed, removed or put in breaks the chain. With
    `rows=true` the pauses, sagas and steps are compared with the log, and each field that does not fit is named.
    """
    namespace = query.get("namespace")
    found = use_cases.verify(deps().database, g.principal, namespace)
    if query["rows"]:
        rows = verify_rows(deps().database, g.principal, namespace)
        found |= {"ok": found["ok"] and not rows.bad, "rows": rows.document()}
    return json_response(found)


@operation(
    audit,
    "GET",
    "/audit/export",
    permission=Permission.AUDIT_EXPORT,
    query=AuditChainQuery,
    answers={200: JSON_LINES},
)
def export_audit_log(query: dict[str, Any]) -> Response:
    """The whole log as JSON Lines, for keeping elsewhere; `sagahold audit verify FILE` checks it

    The last line has the heads of the chains: an export without it broke off.
    """
    use_cases.record_export(deps().database, g.principal, query.get("namespace"))
    lines = use_cases.export(deps().database, g.principal, query.get("namespace"))
    name = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return Response(lines, content_type=JSON_LINES, headers=name)
