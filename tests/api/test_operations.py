"""For those who run it: health, readiness, metrics, the docs page, headers on every answer, and the log."""

import json
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.devstack import Stack
from tests.api.conftest import Team, until

ANSWERS = {
    "/healthz": 200,
    "/readyz": 200,
    "/v1/health": 200,
    "/openapi.json": 200,
    "/docs": 200,
    "/docs/start.js": 200,
    "/docs/assets/swagger-ui.css": 200,
    f"/review/wch_{'0' * 32}": 303,
    "/metrics": 401,
    "/api/pause": 401,
    "/nowhere": 404,
    "/docs/assets/../../../pyproject.toml": 404,
    "/docs/assets/favicon.ico": 404,
    "/review/nothing": 303,
}


@pytest.mark.parametrize("path", ["/healthz", "/v1/health"])
def test_it_lives(path: str, stack: Stack) -> None:
    answer = httpx.get(stack.url + path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_it_is_ready_and_tells_what_it_needs(stack: Stack) -> None:
    checks = {"database": True, "migrations": True, "broker": True, "workers": 1, "beat": True}
    assert httpx.get(f"{stack.url}/readyz").json() == {"status": "ok", "checks": checks}


@pytest.mark.parametrize(("path", "status"), ANSWERS.items())
def test_every_answer_is_safe_to_show(path: str, status: int, stack: Stack) -> None:
    """Whatever it is, a browser neither guesses its type nor frames it, and no proxy keeps it."""
    answer = httpx.get(stack.url + path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert re.search("default-src '(none|self)'", answer.headers["Content-Security-Policy"])
    assert "no-store" in answer.headers["Cache-Control"] or path.startswith("/docs/assets/swagger")
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["Trace-Id"])


def test_metrics_are_what_prometheus_reads(team: Team) -> None:
    team.pause()
    team.agent.request("MADE-UP", "/api/pause")
    answer = team.operator.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    gauges = {"pending_pauses", "pending_deliveries", "overdue_seconds", "exhausted_deliveries", "workers_seen"}
    gauges |= {"due_sagas", "sagas_needing_operator", "pending_notifications", "failed_notifications"}
    gauges |= {"disabled_endpoints", "failing_receivers", "backlog_age_seconds"}
    assert {f"sagahold_{name}" for name in gauges} < families.keys()
    for old, new in (("set_aside", "quarantined_rows"), ("held_requests", "long_polls")):
        assert families[f"sagahold_{old}"].samples[0].value == families[f"sagahold_{new}"].samples[0].value
    until(lambda: "sagahold_pending_pauses 0.0" not in team.operator.get("/metrics").text)
    assert families["sagahold_workers_seen"].samples[0].value == 1
    labels = [sample.labels for sample in families["sagahold_http_requests"].samples]
    assert {"method": "POST", "route": "/api/pause", "status": "201"} in labels
    assert "MADE-UP" not in {label["method"] for label in labels}
    timed = [sample.labels for sample in families["sagahold_http_request_seconds"].samples]
    assert {"method": "POST", "route": "/api/pause"} in timed


def test_the_docs_page_needs_nothing_from_elsewhere(stack: Stack) -> None:
    """Everything that it loads comes from this server, which has it from the installed package."""
    page = httpx.get(f"{stack.url}/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 3
    for path in loaded:
        assert path.startswith("/docs/")
        asset = httpx.get(stack.url + path)
        assert asset.status_code == 200
        assert asset.headers["Content-Type"].split(";")[0] in ("text/css", "text/javascript")
    assert "http" not in page.text
    assert "/openapi.json" in httpx.get(f"{stack.url}/docs/start.js").text


def test_the_log_is_json_with_trace_ids_and_no_keys(team: Team, stack: Stack) -> None:
    """A client's own trace id is kept; what it put into the query is not there."""
    trace = "0123456789abcdef0123456789abcdef"
    headers = {"traceparent": f"00-{trace}-0123456789abcdef-01"}
    answer = team.agent.get("/api/pause?q=private-words", headers=headers)
    assert answer.headers["Trace-Id"] == trace
    log = stack.log("web")
    until(lambda: trace in log.read_text())
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("trace_id") == trace]
    assert {"method": "GET", "path": "/api/pause", "status": 200, "level": "INFO"}.items() <= line.items()
    assert re.fullmatch(r"key_[0-9a-f]{32}", line["key"])
    assert line["time"]
    for secret in (*(stack.credentials[f"{role}_key"] for role in ("agent", "admin")), "private-words"):
        assert secret not in log.read_text()
    requests = [line for line in lines if line["message"] == "request"]
    assert requests
    assert all(re.fullmatch("[0-9a-f]{32}", line["trace_id"]) for line in requests)
