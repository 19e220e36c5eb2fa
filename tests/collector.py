"""A collector for tests: it takes OTLP by HTTP on loopback, and keeps the spans."""

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.adapters.receiver import Receiver, Request

SERVER, CLIENT, INTERNAL = (
    trace_pb2.Span.SPAN_KIND_SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT,
    trace_pb2.Span.SPAN_KIND_INTERNAL,
)


@dataclass(frozen=True)
class Sent:
    """One span, as it came."""

    service: str
    version: str
    span: trace_pb2.Span

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def links(self) -> list[tuple[str, str]]:
        return [(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links]

    @property
    def failed(self) -> bool:
        return bool(self.span.status.code == trace_pb2.Status.STATUS_CODE_ERROR)

    @property
    def attributes(self) -> dict[str, str | int]:
        return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in self.span.attributes}


class Collector(Receiver):
    """`with Collector() as collector: … collector.environ … collector.wait_for_spans(…)`"""

    @property
    def environ(self) -> dict[str, str]:
        """Where spans are to go, and that they come at once."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url_as(self.host, ""),
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "NO_PROXY": self.host,
        }

    def spans(self) -> list[Sent]:
        return [sent for request in list(self.requests) for sent in _read(request)]

    def wait_for_spans(self, enough: Callable[[list[Sent]], bool], seconds: float = 90) -> list[Sent]:
        """All that have come, once they are enough. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: enough(self.spans()), seconds):
                names = sorted(f"{sent.service} {sent.name}" for sent in self.spans())
                raise TimeoutError(f"within {seconds} s there came only {names}")
            return self.spans()


def _read(request: Request) -> list[Sent]:
    found = []
    for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
        about = {each.key: each.value.string_value for each in resource.resource.attributes}
        name, version = about["service.name"], about.get("service.version", "")
        found += [Sent(name, version, span) for scope in resource.scope_spans for span in scope.spans]
    return found
