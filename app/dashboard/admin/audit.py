"""/audit: the audit log, its verification and its export."""

from typing import Any

from flask import Response, request

from app.dashboard.framework.lists import midnight, next_link, text_filter, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from domain.identity.access import ALL_NAMESPACES, Permission, Principal
from services.log import audit
from services.log.audit import EventFilter

READ = Permission.AUDIT_READ


@page("GET", "/audit", permission=READ)
def audit_log() -> Any:
    """List the entries of one chain, newest first."""
    wanted = EventFilter(
        namespace=text_filter("namespace") or _home(person()),
        subject=text_filter("subject"),
        type=text_filter("type"),
        by=text_filter("by"),
        since=midnight(request.args.get("since", "")),
        until=midnight(request.args.get("until", ""), days=1),
    )
    found = audit.list_events(deps().database, person(), wanted, wanted_page())
    return render(
        "audit.html",
        events=found.items,
        next_link=next_link(found),
        filters=request.args,
        chain=wanted.namespace,
        chains=[*sorted(set(person().namespaces) - {ALL_NAMESPACES}), *([ALL_NAMESPACES] if person().sees_all else [])],
        filtered=wanted != EventFilter(namespace=wanted.namespace),
    )


@page("GET", "/audit/verify", permission=READ)
def audit_verify() -> Any:
    """Check whether an entry was changed, removed or inserted."""
    namespace = text_filter("namespace")
    return render("audit_verify.html", verdict=audit.verify(deps().database, person(), namespace), namespace=namespace)


@page("GET", "/audit/export", permission=Permission.AUDIT_EXPORT)
def audit_export() -> Any:
    """Export the log as JSON Lines."""
    lines = audit.export(deps().database, person(), text_filter("namespace"))
    name = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return Response(lines, content_type="application/x-ndjson", headers=name)


def _home(by: Principal) -> str:
    """Return the chain that the page shows by default."""
    return by.own_namespace if by.sees(by.own_namespace) else by.namespaces[0]
