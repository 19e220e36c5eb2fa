"""/healthz, /readyz, /metrics and /v1/health: for those who run it."""

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

operations = Blueprint("operations", __name__, description="Is it alive, is it ready, what is it doing")


class HealthSchema(Schema):
    status = fields.String(required=True)


class ReadySchema(HealthSchema):
    checks = fields.Dict(required=True)


@operation(operations, "GET", "/healthz", permission=None, answers={200: HealthSchema})
def check_liveness() -> Response:
    """This process lives

    Looks at nothing else: restart the process when it does not answer.
    """
    return json_response({"status": "ok"})


@operation(operations, "GET", "/v1/health", permission=None, answers={200: HealthSchema})
def check_api() -> Response:
    """The API answers

    For clients that look under `/v1`.
    """
    return json_response({"status": "ok"})


@operation(operations, "GET", "/readyz", permission=None, answers={200: ReadySchema})
def check_readiness() -> Response:
    """Database, migrations, broker, workers and beat are there; 503 says what is not

    A load balancer sends requests where this answers 200.
    """
    found = readiness(deps().database, deps().revision)
    field_error = deps().broker_fault()
    checks: dict[str, Any] = {
        "database": found.database,
        "migrations": found.migrated,
        "broker": field_error is None,
        "workers": found.workers,
    }
    if found.workers:
        # Without workers nobody can tell.
        checks["beat"] = found.beat
    if found.read_only is not None:
        checks["writable"] = False
    missing = [name for name, good in checks.items() if not good]
    if missing:
        said = [f"broker ({field_error})" if name == "broker" else name for name in missing]
        why = "" if found.read_only is None else f"; the database takes no changes: {found.read_only}"
        return problem(
            503, "NOT_READY", f"not ready: {', '.join(said)}{why}", headers={"Retry-After": "2"}, checks=checks
        )
    return json_response({"status": "ok", "checks": checks})


@operation(operations, "GET", "/metrics", permission=Permission.METRICS_READ, answers={200: "text/plain"})
def read_metrics() -> Response:
    """Prometheus metrics (key of an operator)

    Counters and times of this process; gauges from the database, of what the caller sees.
    """
    body, content_type = exposition(deps(), g.principal)
    return Response(body, 200, content_type=content_type)
