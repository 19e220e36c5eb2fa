"""The OpenTelemetry SDK with our own ids, sampling, sending and logging. It is imported only if spans are enabled."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from uuid import UUID

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from adapters.otel.tracing import Attributes, Kind, log
from adapters.process.logs import LogThrottle
from domain.values.version import VERSION

# The time that an ending process may take to send its last spans; web is killed after three. Seconds.
CLOSE_WITHIN = 1.5
# Each batch is lost while the collector is unreachable. Seconds.
WARN_EVERY = 60.0
# Only the status of a collector's response matters; this much of the body is read so that the connection can be reused.
_MAX_RESPONSE = 4096
_LOW = (1 << 64) - 1

Warn = Callable[[str], None]
# The ids of the next span: its trace, if it has no parent, and its own. None means random.
_ids: ContextVar[tuple[int | None, int | None]] = ContextVar("ids", default=(None, None))
_KINDS: dict[Kind, trace.SpanKind] = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}


class Tracer:
    """A tracer, safe to share between threads but not across a fork. Raises `ValueError` for invalid variables.

    Its provider is not the global one, and its spans never enter the SDK's context, because libraries look there.
    """

    def __init__(self, service_name: str) -> None:
        self._provider = _provider(service_name, _Warning())
        self._tracer = self._provider.get_tracer("sagahold")
        self._closing = threading.Event()
        # Started now, because no thread can start at the interpreter's end, where the SDK would wait half a minute.
        self._last = threading.Thread(target=self._end, name="spans-end", daemon=True)
        self._last.start()

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        trace_id: UUID | None,
        span_id: int | None,
        cause: str | None = None,
    ) -> trace.Span:
        ids = None if trace_id is None else trace_id.int, span_id
        return self.start(name, kind, attributes, Context(), ids, links=_links(cause))

    def child(self, parent: trace.Span, name: str, kind: Kind, attributes: Attributes) -> trace.Span:
        return self.start(name, kind, attributes, trace.set_span_in_context(parent, Context()))

    def over(self, name: str, attributes: Attributes, trace_id: UUID, began: datetime, ended: datetime) -> None:
        """Record a span of something that has ended, by the database's clock."""
        span = self.start(name, "internal", attributes, Context(), (trace_id.int, None), _nanoseconds(began))
        span.end(_nanoseconds(ended))

    def start(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        within: Context,
        ids: tuple[int | None, int | None] = (None, None),
        start_ns: int | None = None,
        links: Sequence[trace.Link] = (),
    ) -> trace.Span:
        wanted = _ids.set(ids)
        try:
            return self._tracer.start_span(name, within, _KINDS[kind], attributes, links, start_ns)
        finally:
            _ids.reset(wanted)

    def answered(
        self,
        name: str,
        seconds: float,
        trace_id: str,
        sent: str | None,
        attributes: Attributes,
        set_off: str | None = None,
    ) -> None:
        """Record the span of a request when its response begins.

        `sent` is the caller's valid `traceparent`; `set_off` is that of the work that the request started.
        """
        began = time.time_ns() - int(seconds * 1e9)
        ids = int(trace_id, 16), None
        span = self.start(name, "server", attributes, _caller(sent), ids, began, _links(set_off))
        if "error.type" in attributes:
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send the remaining spans, within the time limit."""
        self._closing.set()
        self._last.join(CLOSE_WITHIN)

    def _end(self) -> None:
        self._closing.wait()
        self._provider.shutdown()


def _caller(sent: str | None) -> Context:
    if sent is None:
        return Context()
    return trace.set_span_in_context(trace.NonRecordingSpan(_context(sent)), Context())


def _links(traceparent: str | None) -> Sequence[trace.Link]:
    return () if traceparent is None else (trace.Link(_context(traceparent)),)


def _context(traceparent: str) -> trace.SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), True, trace.TraceFlags(int(flags, 16)))


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000


def _provider(service_name: str, warn: Warn) -> TracerProvider:
    """Return the SDK's provider. Raises `ValueError` if an environment variable is invalid."""
    tamed = _SdkLog(warn)
    sdk = logging.getLogger("opentelemetry")
    sdk.propagate = False
    sdk.handlers[:] = [tamed]
    given = OTELResourceDetector().detect().attributes
    ours = {SERVICE_NAME: service_name, SERVICE_VERSION: VERSION}
    # The environment's values take precedence.
    resource = Resource.create({name: value for name, value in ours.items() if not given.get(name)})
    provider = TracerProvider(resource=resource, id_generator=_Ids(), shutdown_on_exit=False)
    provider.sampler = _UuidSampler(provider.sampler)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=_Session(warn))))
    tamed.set_up = True
    return provider


class _Warning:
    """An occasional warning, however often spans are lost."""

    def __init__(self) -> None:
        self._throttle = LogThrottle(WARN_EVERY)

    def __call__(self, reason: str) -> None:
        if self._throttle.now():
            log.warning("spans do not reach the collector: %s", reason)


class _Ids(IdGenerator):
    def generate_trace_id(self) -> int:
        return _ids.get()[0] or random.getrandbits(128) or 1

    def generate_span_id(self) -> int:
        return _ids.get()[1] or random.getrandbits(64) or 1


class _UuidSampler(Sampler):
    """The configured sampler, corrected for trace ids that are UUIDs.

    Samplers by ratio compare the lower 64 bits of a trace id. In a UUID, such as a saga's id, the first two of these
    bits are always 10. A ratio of a half would therefore drop every trace, and one of three quarters would keep all.
    Without the two bits, the rest is random.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(self, parent_context: Any, trace_id: int, *args: Any, **more: Any) -> SamplingResult:
        low = trace_id & _LOW
        if low >> 62 == 0b10 and trace_id >> 76 & 0xF in (4, 7):
            low = (low << 2 | 0b10) & _LOW
        return self._sampler.should_sample(parent_context, trace_id >> 64 << 64 | low, *args, **more)

    def get_description(self) -> str:
        return self._sampler.get_description()


class _Session(requests.Session):
    """A session that reports failed requests, and limits how much of a response it reads.

    It reports only the status or the type of the error, because a response, the address and headers may contain keys.
    """

    def __init__(self, warn: Warn) -> None:
        super().__init__()
        self._warn = warn

    def request(self, *args: Any, **more: Any) -> requests.Response:
        try:
            response = super().request(*args, **more | {"stream": True})
            # The exporter does not follow a redirect, and treats it as success.
            if not 200 <= response.status_code < 300:
                self._warn(f"HTTP {response.status_code}")
            self._end(response)
        except Exception as error:
            self._warn(type(error).__name__)
            raise
        return response

    @staticmethod
    def _end(response: requests.Response) -> None:
        if len(response.raw.read(_MAX_RESPONSE)) == _MAX_RESPONSE:
            response.close()


class _SdkLog(logging.Handler):
    """A handler of the SDK's log. It passes on the lines of the start, and later only an occasional loss of spans."""

    def __init__(self, warn: Warn) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        self.set_up = False

    def emit(self, record: logging.LogRecord) -> None:
        if self.set_up:
            if str(record.msg).startswith("Queue full"):
                self._warn("the queue is full")
        elif record.name == "opentelemetry.util.re":
            # The original line repeats the headers, which may contain keys.
            log.warning("OTEL_EXPORTER_OTLP_HEADERS: a header is ignored, because it is not name=value")
        else:
            log.warning("OpenTelemetry: %s", record.getMessage())
