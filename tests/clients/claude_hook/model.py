"""A model on loopback: it makes the given tool calls, and says "done" once it has their results."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Model:
    """The calls that the model makes, and the results that it got."""

    def __init__(self, command: str) -> None:
        self.call = {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": command}}
        self.results: list[str] = []

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the content block of the answer, and why it ends."""
        # After the results there may be a message with what a hook said.
        contents = [message["content"] for message in request["messages"] if isinstance(message["content"], list)]
        results = [part for content in contents for part in content if part.get("type") == "tool_result"]
        self.results = [json.dumps(part["content"]) for part in results]
        if results or not request.get("tools"):
            return {"type": "text", "text": "done"}, "end_turn"
        return self.call, "tool_use"


@contextmanager
def serve(model: Model) -> Iterator[str]:
    """Serve the model by the Messages API; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.startswith("/v1/messages?"):
                self._send(b'{"input_tokens": 1}', "application/json")
                return
            block, reason = model.answer(request)
            events = [(name, json.dumps({"type": name, **data})) for name, data in _events(block, reason)]
            stream = "".join(f"event: {name}\ndata: {data}\n\n" for name, data in events)
            self._send(stream.encode(), "text/event-stream")

        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def _send(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

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


def _events(block: dict[str, Any], reason: str) -> Iterator[tuple[str, dict[str, Any]]]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "test", "content": [], "usage": usage}
    yield "message_start", {"message": {**message, "stop_reason": None, "stop_sequence": None}}
    if block["type"] == "text":
        begun, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        begun = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield "content_block_start", {"index": 0, "content_block": begun}
    yield "content_block_delta", {"index": 0, "delta": delta}
    yield "content_block_stop", {"index": 0}
    yield "message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 1}}
    yield "message_stop", {}
