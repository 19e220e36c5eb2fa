"""Server-Sent Events of a pause, without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass

from sagahold import canonical_json
from sagahold.errors import UnexpectedResponse
from sagahold.pauses import Pause, read_pause
from sagahold.protocol import Answer, Call, backoff, path_of, read

# The server ends a stream after some minutes.
ENDED = Answer(0, b"the stream ended")


@dataclass(frozen=True)
class Event:
    """A change of a pause, such as `pause.created` or `pause.approved`."""

    type: str
    pause: Pause


class EventReader:
    """A reader of the chunks of any number of connections, each of which resumes after the last event."""

    def __init__(self, pause: Pause | str) -> None:
        self.done = False
        self._watch_id = pause if isinstance(pause, str) else pause.watch_id
        self._failures = 0
        self._last_id: str | None = None
        self._buffer = b""
        self._fields: dict[str, str] = {}

    def connect(self) -> Call:
        """Return the request of the next connection."""
        self._buffer, self._fields = b"", {}
        resume = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        headers = {"Accept": "text/event-stream", **resume}
        # The server sends a comment every 15 s.
        return Call("GET", path_of(self._watch_id, "events"), headers=headers, timeout=60.0)

    def accepts(self, status: int, headers: Mapping[str, str]) -> bool:
        return status == 200 and headers.get("content-type", "").startswith("text/event-stream")

    def delay(self, answer: Answer) -> float:
        """Return the delay before the next connection. Raise an error if that cannot help."""
        if not answer.transient:
            read(answer)
            raise UnexpectedResponse("the server sent no event stream: check SAGAHOLD_URL, and proxies on the way")
        self._failures += 1
        return backoff(self._failures, answer)

    def feed(self, chunk: bytes) -> list[Event]:
        # Only line feeds separate lines: JSON may contain the other separators that Python knows.
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        return [event for line in lines if (event := self._line(line.rstrip(b"\r"))) is not None]

    def _line(self, line: bytes) -> Event | None:
        if line:
            name, _, value = line.decode(errors="replace").partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        self._failures = 0
        self._last_id = fields.get("id", self._last_id)
        try:
            document = canonical_json.loads(fields["data"].encode())
        except ValueError as error:
            raise UnexpectedResponse(f"an event is not JSON: {error}") from error
        pause = read_pause(document.get("data") if isinstance(document, dict) else None, self._watch_id)
        self.done = pause.status != "pending"
        return Event(fields.get("event", "message"), pause)
