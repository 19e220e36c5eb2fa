"""A `FakeApprover` behind real HTTP, whose answers a test may replace: what a broken server or proxy sends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from sagahold.protocol import Answer, Call
from sagahold.testing import FakeApprover

# Returns the answer to send, or None to close the connection without one.
Change = Callable[[Call, Answer], Answer | None]


@contextmanager
def http_fake(approver: FakeApprover, change: Change) -> Iterator[str]:
    """Serve the approver's answers after `change`; yield the address."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65_537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))) or None
            parts = urlsplit(self.path)
            call = Call(self.command, parts.path, dict(parse_qsl(parts.query)), body, dict(_titled(self.headers)))
            with lock:
                answer = change(call, approver.answer(call))
            self.close_connection = True
            if answer is None:
                return
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _titled(headers: object) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():  # type: ignore[attr-defined]
        yield "-".join(part.capitalize() for part in name.split("-")), value
