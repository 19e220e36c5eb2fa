"""An event stream as the SDK reads it: lines of bounded length, readable answers, and no noise."""

import logging
from collections.abc import AsyncIterator, Iterator

import httpx2

from adapters.mcp import rpc
from adapters.mcp.framing import MAX_MESSAGE_BYTES, Exchange, LineSplitter, UnreadableMessage
from adapters.mcp.outcome import CallError
from adapters.mcp.result import excerpt

log = logging.getLogger(__name__)


class Events(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, exchange: Exchange | None, request_id: int | None) -> None:
        """`exchange`, `request_id`: of the request that the stream answers; None for the server's own messages."""
        self._response = response
        self._exchange, self._request_id = exchange, request_id
        self._event: list[bytes] = []
        self._size = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        lines = LineSplitter()
        async for chunk in self._response.aiter_raw():
            try:
                if passed := b"".join(event for line in lines.feed(chunk) for event in self._take(line)):
                    yield passed
            except UnreadableMessage:
                raise httpx2.ReadError("an event was too long") from None

    async def aclose(self) -> None:
        await self._response.aclose()

    def _take(self, line: bytes) -> Iterator[bytes]:
        """Yield the event that ends with this line. Raises `UnreadableMessage`."""
        self._event.append(line)
        self._size += len(line)
        if self._size > 2 * MAX_MESSAGE_BYTES:
            raise UnreadableMessage
        if not line.strip(b"\r\n"):
            event, self._event, self._size = self._event, [], 0
            yield self._tidied(event)

    def _tidied(self, event: list[bytes]) -> bytes:
        data = b"\n".join(_value(line) for line in event if line.startswith(b"data:"))
        kind = b"".join(_value(line) for line in event if line.startswith(b"event:"))
        if not data.strip() or kind not in (b"", b"message"):
            return b"".join(event)
        try:
            message = rpc.tidied(data, self._request_id)
        except rpc.ResponseMismatch:
            self._fail(CallError.lost("the server's answer is no answer to the request", excerpt(data)))
            message = None
        if message is data:
            return b"".join(event)
        rest = [line for line in event if not line.startswith(b"data:")]
        if message is None:
            log.warning("an MCP server sent an event that is no message", extra={"event": excerpt(data)[:200]})
            if self._exchange is not None:
                self._exchange.unread = excerpt(data)
            return b"".join(rest)
        return b"data: " + message + b"\n" + b"".join(rest)

    def _fail(self, error: Exception) -> None:
        if self._exchange is not None:
            self._exchange.fail(error)


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].removeprefix(b" ").rstrip(b"\r\n")
