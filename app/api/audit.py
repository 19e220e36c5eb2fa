"""/v1/audit-events and /v1/audit/…: the audit log, its verification and its export."""

from typing import Any

from flask import Response, g

from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import json_response
from app.openapi.operation import operation
from app.schemas.audit import (
    AuditChainQuery,
    AuditListQuery,
    AuditPageSchema,
    AuditVerifyQuery,
    CheckpointQuery,
    ConsistencyProofSchema,
    ConsistencyQuery,
    EvidenceQuery,
    EvidenceSchema,
    InclusionProofSchema,
    InclusionQuery,
    VerdictSchema,
)
from domain.identity.access import Permission
from services.log import audit as use_cases
from services.log.audit import EventFilter
from services.log.proofs import latest_checkpoint, prove_consistency, prove_inclusion
from services.log.row_verification import verify_rows
from services.operations.evidence import collect_evidence

audit = Blueprint("audit", __name__, url_prefix="/v1", description="The append-only audit log, chained by hashes")
JSON_LINES = "application/x-ndjson"
PLAIN = "text/plain"


@operation(
    audit,
    "GET",
    "/audit-events",
    permission=Permission.AUDIT_READ,
    query=AuditListQuery,
    answers={200: AuditPageSchema},
)
def list_audit_events(query: dict[str, Any]) -> Response:
    """List the audit events of a namespace, newest first

    Each event has digests of the object before and after the change, the actor and the caller's address. Events that
    are not linked into the chain yet come first, without `seq` and `hash`.
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
    """Verify the audit log

    Each entry's hash covers the entry before it, so a changed, removed or inserted entry breaks the chain. Signed
    checkpoints also reveal a chain that was computed again. The response names the first such entry. With `rows=true`,
    pauses, sagas and steps are compared with the log, and the response names each differing field. An entry is linked
    into the chain within a second or two after the change. `ok` is false if one has waited much longer.
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
    """Export the audit log as JSON Lines

    `sagahold audit verify FILE` checks an export. The last line has the heads of the chains; an export without it is
    incomplete.
    """
    use_cases.record_export(deps().database, g.principal, query.get("namespace"))
    lines = use_cases.export(deps().database, g.principal, query.get("namespace"))
    name = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return Response(lines, content_type=JSON_LINES, headers=name)


@operation(
    audit,
    "GET",
    "/audit/checkpoint",
    permission=Permission.AUDIT_READ,
    query=CheckpointQuery,
    answers={200: PLAIN},
    refuses=(404,),
)
def get_checkpoint(query: dict[str, Any]) -> Response:
    """Get the latest signed checkpoint of a namespace's log

    A signed note with the log's name, its size and its Merkle root (C2SP `tlog-checkpoint`), signed with the key of
    receipts. Keep it elsewhere: `sagahold audit verify --since FILE` proves that the log still begins with it. A worker
    signs one within a second or two after a change; before the first one the answer is 404.
    """
    note = latest_checkpoint(deps().database, g.principal, query.get("namespace"))
    return Response(note, content_type=f"{PLAIN}; charset=utf-8")


@operation(
    audit,
    "GET",
    "/audit/proof/inclusion",
    permission=Permission.AUDIT_READ,
    query=InclusionQuery,
    answers={200: InclusionProofSchema},
)
def prove_entry_inclusion(query: dict[str, Any]) -> Response:
    """Prove that the log has an entry

    The proof of RFC 9162 that the leaf at `index` is in the Merkle tree of the first `size` entries. A leaf is the
    entry's text, as an export has it.
    """
    found = prove_inclusion(deps().database, g.principal, query.get("namespace"), query["index"], query["size"])
    return json_response(found)


@operation(
    audit,
    "GET",
    "/audit/proof/consistency",
    permission=Permission.AUDIT_READ,
    query=ConsistencyQuery,
    answers={200: ConsistencyProofSchema},
)
def prove_log_consistency(query: dict[str, Any]) -> Response:
    """Prove that the log only grew

    The proof of RFC 9162 that the tree of the first `to` entries begins with that of the first `from` ones. With it, a
    reader who has kept a checkpoint sees that no entry below it was changed or removed.
    """
    found = prove_consistency(deps().database, g.principal, query.get("namespace"), query["from"], query["to"])
    return json_response(found)


@operation(
    audit,
    "GET",
    "/audit/evidence",
    permission=Permission.AUDIT_EXPORT,
    query=EvidenceQuery,
    answers={200: EvidenceSchema},
    refuses=(404,),
)
def get_evidence(query: dict[str, Any]) -> Response:
    """Get the evidence of a pause or saga

    Its entries in the log, each with the proof that the signed checkpoint contains it, the receipts of its decisions,
    and the public keys. `sagahold evidence ID -o FILE` makes an archive of it, which is verified without a server. The
    log records who took it.
    """
    namespace = query.get("namespace")
    return json_response(collect_evidence(deps().database, deps().signer, g.principal, query["subject"], namespace))
