"""The demo's webhook receiver, a small server on loopback that accepts only valid signatures."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from cli.demo.deviation import Deviation

# A delivery takes milliseconds. A busy machine takes longer, and the demo does not fail for that. Seconds.
ARRIVAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One request as received at `at` (`time.perf_counter`)."""

    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Receiver:
    """A webhook receiver. `verified` and `refused` hold all messages so far; `secret` may be set later."""

    def __init__(self) -> None:
        self.secret = ""
        self.verified: list[ReceivedMessage] = []
        self.refused: list[ReceivedMessage] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hooks"

    def wait_for(self, event_type: str, watch_id: str) -> ReceivedMessage:
        """Return the verified message of this type about the pause. Raises `Deviation` if none arrives."""

        def found() -> ReceivedMessage | None:
            typed = (message for message in self.verified if message.event["type"] == event_type)
            return next((message for message in typed if message.event["data"]["watchId"] == watch_id), None)

        with self._changed:
            message = self._changed.wait_for(found, ARRIVAL_SECONDS)
        if message is None:
            raise Deviation(
                f"no verified webhook {event_type} for {watch_id} arrived within {ARRIVAL_SECONDS:.0f} s"
                f" ({len(self.refused)} were refused)"
            )
        return message

    def take(self, message: ReceivedMessage) -> int:
        """Check the signature and return the HTTP status of the response."""
        try:
            Webhook(self.secret).verify(message.body, message.headers)
        except (WebhookVerificationError, ValueError):
            kept, status = self.refused, 400
        else:
            kept, status = self.verified, 204
        with self._changed:
            kept.append(message)
            self._changed.notify_all()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self.take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                at = time.perf_counter()
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(take(ReceivedMessage(headers, body, at)))
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing: the demo reports what arrives."""

        return Handler
