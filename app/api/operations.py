"""/healthz, /readyz, /metrics and /v1/health: for operators and monitoring."""

from typing import Any

from flask import Response, g
from marshmallow import Schema, fields

from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import json_response
from app.http.metrics import exposition
from app.http.problems import problem
from app.openapi.operation import operation
from domain.identity.access import Permission
from services.operations.health import readiness

operations = Blueprint("operations", __name__, description="Liveness, readiness and metrics")


class HealthSchema(Schema):
    status = fields.String(required=True)


class ReadySchema(HealthSchema):
    checks = fields.Dict(required=True)


@operation(operations, "GET", "/healthz", permission=None, answers={200: HealthSchema})
def check_liveness() -> Response:
    """Check liveness

    Checks only this process. Restart the process if it does not respond.
    """
    return json_response({"status": "ok"})


@operation(operations, "GET", "/v1/health", permission=None, answers={200: HealthSchema})
def check_api() -> Response:
    """Check the API

    The same as `/healthz`, for clients that look under `/v1`.
    """
    return json_response({"status": "ok"})


@operation(operations, "GET", "/readyz", permission=None, answers={200: ReadySchema})
def check_readiness() -> Response:
    """Check readiness

    Checks the database, migrations, broker, workers and beat, and that the audit log is linked; 503 names what is
    missing. A load balancer should send requests only to a server that responds with 200.
    """
    found = readiness(deps().database, deps().revision)
    broker_error = deps().broker_error()
    checks: dict[str, Any] = {
        "database": found.database,
        "migrations": found.migrated,
        "broker": broker_error is None,
        "workers": found.workers,
    }
    if found.workers:
        # Only workers can tell.
        checks["beat"] = found.beat
    if found.read_only is not None:
        checks["writable"] = False
    if not found.linked:
        checks["audit_log"] = False
    missing = [name for name, good in checks.items() if not good]
    if missing:
        names = [f"broker ({broker_error})" if name == "broker" else name for name in missing]
        why = "" if found.read_only is None else f"; the database accepts no changes: {found.read_only}"
        why += "" if found.linked else "; entries of the audit log wait to be linked: read the logs of web and worker"
        return problem(
            503, "NOT_READY", f"not ready: {', '.join(names)}{why}", headers={"Retry-After": "2"}, checks=checks
        )
    return json_response({"status": "ok", "checks": checks})


@operation(operations, "GET", "/metrics", permission=Permission.METRICS_READ, answers={200: "text/plain"})
def read_metrics() -> Response:
    """Read Prometheus metrics

    Counters and times of this process, and gauges of the namespaces that the caller may see.
    """
    body, content_type = exposition(deps(), g.principal)
    return Response(body, 200, content_type=content_type)
