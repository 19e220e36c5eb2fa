"""Spans as a collector receives them, and work that goes on without the collector."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from opentelemetry.trace import INVALID_SPAN, get_current_span

from adapters.otel import tracing
from adapters.otel.tracing import begin, child, current, open_tracer, running, traceparent
from tests.adapters.receiver import Exchange, Script, reply
from tests.collector import CLIENT, SERVER, Collector, Sent

ROOT = Path(__file__).parents[3]
SECRET = "hunter2-and-more"
Open = Callable[..., "tracing.Tracer"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def open_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """`open_for(collector, OTEL_…="…")`: a tracer that sends there."""
    opened = []

    def make(collector: Collector, **environ: str) -> "tracing.Tracer":
        for name, value in (collector.environ | environ).items():
            monkeypatch.setenv(name, value)
        tracer = open_tracer("sagahold-test")
        assert tracer is not None
        opened.append(tracer)
        return tracer

    yield make
    for tracer in opened:
        tracer.close()


def one(collector: Collector) -> Sent:
    (sent,) = collector.wait_for_spans(lambda spans: len(spans) >= 1)
    return sent


class TestSpans:
    def test_a_span_has_the_requested_ids(self, collector: Collector, open_for: Open) -> None:
        trace_id = uuid4()
        with running(begin(open_for(collector), "step one", "client", {"a": 1}, trace_id, 0xABC)) as span:
            span.set_attribute("b", "two")
        sent = one(collector)
        assert (sent.trace_id, sent.span_id, sent.parent) == (trace_id.hex, f"{0xABC:016x}", "")
        assert (sent.name, sent.span.kind, sent.service) == ("step one", CLIENT, "sagahold-test")
        assert sent.attributes == {"a": 1, "b": "two"}
        assert not sent.failed
        assert traceparent(span) == f"00-{trace_id.hex}-{0xABC:016x}-01"

    def test_what_is_begun_within_is_its_child(self, collector: Collector, open_for: Open) -> None:
        tracer = open_for(collector)
        with running(begin(tracer, "outer", "internal", {})) as outer, current(tracer, outer):
            child("inner", "client", {}).end()
        assert child("not within", "client", {}) is INVALID_SPAN
        inner, sent = sorted(collector.wait_for_spans(lambda spans: len(spans) >= 2), key=lambda sent: sent.name)
        assert (inner.trace_id, inner.parent) == (sent.trace_id, sent.span_id)
        assert traceparent(outer) == f"00-{sent.trace_id}-{sent.span_id}-01"

    def test_libraries_do_not_see_a_span(self, collector: Collector, open_for: Open) -> None:
        """They would add to it what they like, and the MCP SDK would tell tools of it."""
        tracer = open_for(collector)
        with running(begin(tracer, "any", "client", {})) as span, current(tracer, span):
            assert get_current_span() is INVALID_SPAN

    def test_without_a_tracer_there_is_no_span(self) -> None:
        with running(begin(None, "any", "client", {"a": 1})) as span, current(None, span):
            span.set_attribute("b", 2)
            assert child("part", "client", {}) is INVALID_SPAN
        assert span is INVALID_SPAN
        assert traceparent(span) is None

    def test_an_exception_is_recorded_by_its_name_alone(self, collector: Collector, open_for: Open) -> None:
        with pytest.raises(LookupError), running(begin(open_for(collector), "breaks", "client", {})):
            raise LookupError(SECRET)
        sent = one(collector)
        assert sent.failed
        assert sent.attributes == {"error.type": "LookupError"}
        assert SECRET not in str(sent.span)

    def test_of_a_request(self, collector: Collector, open_for: Open) -> None:
        caller = f"00-{'a' * 32}-{'b' * 16}-01"
        open_for(collector).answered("GET /a/{b}", 2.0, "a" * 32, caller, {"http.response.status_code": 200})
        sent = one(collector)
        assert (sent.trace_id, sent.parent, sent.span.kind) == ("a" * 32, "b" * 16, SERVER)
        assert sent.span.end_time_unix_nano - sent.span.start_time_unix_nano >= 2_000_000_000
        assert not sent.failed

    def test_a_caller_that_is_not_sampled_is_followed(self, collector: Collector, open_for: Open) -> None:
        tracer = open_for(collector)
        for flags, trace_id in (("00", "c" * 32), ("01", "d" * 32)):
            tracer.answered("GET /", 0.0, trace_id, f"00-{trace_id}-{'b' * 16}-{flags}", {})
        assert one(collector).trace_id == "d" * 32

    def test_the_standard_variables_are_read(self, collector: Collector, open_for: Open) -> None:
        tracer = open_for(
            collector,
            OTEL_SERVICE_NAME="mine",
            OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        )
        begin(tracer, "any", "client", {}).end()
        assert one(collector).service == "mine"
        (request,) = collector.requests
        assert request.line == "POST /v1/traces HTTP/1.1"
        assert request.headers["x-key"] == "a b"
        assert b"deployment.environment.name" in request.body

    @pytest.mark.parametrize("version", [4, 7])
    def test_a_ratio_takes_its_share_of_sagas(self, collector: Collector, open_for: Open, version: int) -> None:
        """Though two bits of their ids, the ones that it looks at first, are always the same."""
        tracer = open_for(collector, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25")
        traces = [UUID(int=version << 76 | 0b10 << 62 | number << 56) for number in range(64)]
        told = [traceparent(begin(tracer, "any", "client", {}, trace_id)) or "" for trace_id in traces]
        assert [each[-2:] for each in told] == ["01"] * 16 + ["00"] * 48


def wrong(status: int) -> Script:
    return reply(status, SECRET.encode())


def garbage(exchange: Exchange) -> None:
    exchange.read()
    exchange.send(SECRET.encode() * 1000)


def endless(exchange: Exchange) -> None:
    exchange.read()
    exchange.send(b"HTTP/1.1 500 No\r\n\r\n")
    while True:
        exchange.send(b"x" * 65_536)


def holds(exchange: Exchange) -> None:
    exchange.read()
    exchange.hold()


WRONG = {"500": wrong(500), "401": wrong(401), "302": wrong(302), "garbage": garbage, "endless": endless}


class TestLost:
    @pytest.mark.parametrize("kind", WRONG)
    def test_one_warning_and_no_secret(
        self, collector: Collector, open_for: Open, caplog: pytest.LogCaptureFixture, kind: str
    ) -> None:
        collector.script = WRONG[kind]
        tracer = open_for(
            collector,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{SECRET}",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.url_as(f"user:{SECRET}@127.0.0.1", f"/{SECRET}?key={SECRET}"),
        )
        for number in range(1, 4):
            begin(tracer, "any", "client", {}).end()
            collector.wait_for(number)
        tracer.close()
        (line,) = caplog.records
        assert line.name == "adapters.otel.tracing"
        assert line.getMessage().startswith("spans do not reach the collector: ")
        assert SECRET not in caplog.text

    def test_nobody_listens(self, collector: Collector, open_for: Open, caplog: pytest.LogCaptureFixture) -> None:
        collector.close()
        tracer = open_for(collector, OTEL_EXPORTER_OTLP_TIMEOUT="1")
        begin(tracer, "any", "client", {}).end()
        tracer.close()
        assert len(caplog.records) == 1
        assert "ConnectionError" in caplog.text

    @pytest.mark.timeout(25)
    def test_one_that_never_answers_holds_nobody(
        self, collector: Collector, open_for: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither the code that begins more spans than fit, which is logged, nor the end of the process."""
        collector.script = holds
        tracer = open_for(collector, OTEL_EXPORTER_OTLP_TIMEOUT="600", OTEL_BSP_MAX_QUEUE_SIZE="600")
        begin(tracer, "any", "client", {}).end()
        collector.wait_for(1)
        for _ in range(2000):
            begin(tracer, "any", "client", {}).end()
        assert [line.getMessage() for line in caplog.records] == ["spans do not reach the collector: the queue is full"]
        tracer.close()
        assert not collector.closing.is_set()

    def test_what_is_left_is_sent_at_the_end(self, collector: Collector, open_for: Open) -> None:
        tracer = open_for(collector, OTEL_BSP_SCHEDULE_DELAY="600000")
        begin(tracer, "any", "client", {}).end()
        tracer.close()
        assert one(collector).name == "any"


class TestVariables:
    def test_what_the_sdk_cannot_use_costs_the_spans_and_nothing_else(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name, value in (collector.environ | {"OTEL_BSP_MAX_QUEUE_SIZE": "0"}).items():
            monkeypatch.setenv(name, value)
        assert open_tracer("sagahold-test") is None
        assert "no spans are sent: max_queue_size must be a positive integer" in caplog.text

    def test_invalid_settings_are_reported_without_keys(
        self, collector: Collector, open_for: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        open_for(collector, OTEL_TRACES_SAMPLER="sometimes", OTEL_EXPORTER_OTLP_HEADERS=SECRET)
        assert {line.getMessage() for line in caplog.records} == {
            "OpenTelemetry: Couldn't recognize sampler sometimes.",
            "OTEL_EXPORTER_OTLP_HEADERS: a header is ignored, because it is not name=value",
        }


WEB = "import wsgi"
# With everything that is imported late.
WORKER = """
from tasks.app import app
app.Worker()
app.connection_for_write().transport
from tasks import runtime
runtime.tracer(), runtime.requests(), runtime.tool_client()
import adapters.llm.agent_run, adapters.llm.models
"""


@pytest.mark.parametrize("program", [WEB, WORKER], ids=["web", "worker"])
@pytest.mark.parametrize("wanted", [False, True])
def test_the_sdk_is_loaded_where_spans_are_wanted_and_only_there(
    program: str, wanted: bool, collector: Collector
) -> None:
    servers = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    told = "import sys, threading\nprint('opentelemetry.sdk.trace' in sys.modules, threading.enumerate())"
    ran = subprocess.run(
        [sys.executable, "-c", program.strip() + "\n" + told],
        cwd=ROOT,
        env=environ | servers | (collector.environ if wanted else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, _, threads = ran.stdout.partition(" ")
    assert (loaded, "spans-end" in threads, "Otel" in threads) == (str(wanted), wanted, wanted)
