"""The common part of the transports: a record of how far a request got, and messages of bounded size.

The SDK does not tell a refused connection from a proxy's 502 or a tool's own error. So each request carries an
`Exchange`, in which the transport notes what it sees. It is a context variable, which the SDK copies to the task that
sends.
"""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

from adapters.mcp.outcome import lease_lost

if TYPE_CHECKING:
    from mcp.client._transport import WriteStream

# A message with all that is around it. The SDK's SSE client stops at an event of 1 MiB, its framing included.
MAX_MESSAGE_BYTES = 1024 * 1024 - 4096
# The error code that an answer over the limit is replaced by, before it reaches the SDK.
OVERSIZED = -32091
# These parts of an answer hold its id: servers write `result` first or last.
_HEAD_BYTES = 256
_TAIL_BYTES = 128
_HEAD = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)\s*,[^{}]*"result"\s*:')
_RESULT_FIRST = re.compile(rb'\s*\{\s*"result"\s*:')
_TAIL = re.compile(rb'\}\s*,\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"[^{}]*)?\}\s*$')

T = TypeVar("T")


class UnreadableMessage(Exception):
    """A message over the limit that does not say which request it answers."""


class Exchange:
    """One request on its way.

    Attributes:
        call: it calls a tool, which may have run as soon as a byte of the request was sent.
        sent: some of it may have been sent.
        redirects: the number of redirects within the server.
        refused: the HTTP status by which the server refused it, or 0.
        result: its result as the server wrote it.
        unread: the unreadable text that arrived instead of an answer.
    """

    def __init__(self, *, call: bool = False, ours: Callable[[], bool] | None = None) -> None:
        """`ours`: False once another worker may have taken the step over."""
        self.call = call
        self.sent = False
        self.redirects = 0
        self.refused = 0
        self.result: Mapping[str, Any] | None = None
        self.unread: str | None = None
        self._ours = ours
        self._over = False
        self._departing = threading.Lock()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def depart(self) -> None:
        """Permit the writing of its bytes, immediately before. Raises `CallError` to forbid it."""
        with self._departing:
            if self._over or (self._ours is not None and not self._ours()):
                raise lease_lost("the worker lost the saga before it could call the tool")
            self.sent = True

    def give_up(self) -> bool:
        """Send nothing of it from now on. Return whether some of it was sent."""
        with self._departing:
            self._over = True
            return self.sent

    def fail(self, error: Exception) -> None:
        """Note its failure. The transport knows better than the SDK, and the first note counts."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def outcome(self, answer: Awaitable[T]) -> T:
        """Return the answer. A failure noted by the transport wins over the SDK's error."""
        task = asyncio.ensure_future(answer)
        try:
            waited: set[asyncio.Future[Any]] = {task, self._failure}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                self._failure.result()
            return await task
        finally:
            self.give_up()
            if not task.done():
                task.cancel()
            # Its unwinding cancels the request at the server.
            await asyncio.gather(task, return_exceptions=True)
            self._failure.cancel()


EXCHANGE: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class NotingWriteStream:
    """A write stream that notes the sending of a request, for a transport that writes in the caller's task."""

    def __init__(self, inner: "WriteStream[SessionMessage]") -> None:
        self._inner = inner

    async def send(self, item: SessionMessage, /) -> None:
        if (exchange := EXCHANGE.get()) is None or not isinstance(item.message, JSONRPCRequest):
            return await self._inner.send(item)
        exchange.depart()
        try:
            await self._inner.send(item)
        except anyio.ClosedResourceError:  # closed before: a break while it is sent is another error
            exchange.sent = False
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()


class LineSplitter:
    """A splitter of a stream into lines, their ends included, which replaces an answer over the limit by a short error.

    A line over the limit that is no answer raises `UnreadableMessage`. If `noise` is expected, it is cut to its head
    and tail instead.
    """

    def __init__(self, *, noise: bool = False) -> None:
        self._noise = noise
        self._rest = bytearray()
        self._skipped = 0  # bytes dropped from a line over the limit; its head and tail stay in `_rest`

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that end in this chunk. Raises `UnreadableMessage`."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk[start : end + 1])
            yield self._take()
            start = end + 1
        self._add(chunk[start:])

    def last(self) -> bytes:
        """Return the rest after the last end of line, at the end of the stream. Raises `UnreadableMessage`."""
        return self._take()

    def _add(self, part: bytes) -> None:
        self._rest += part
        if len(self._rest) > MAX_MESSAGE_BYTES:
            self._skipped += len(self._rest) - _HEAD_BYTES - _TAIL_BYTES
            del self._rest[_HEAD_BYTES:-_TAIL_BYTES]

    def _take(self) -> bytes:
        line, skipped = bytes(self._rest), self._skipped
        self._rest.clear()
        self._skipped = 0
        if not skipped:
            return line
        field = b"data: " if line.startswith(b"data:") else b""
        try:
            return field + oversized(line.removeprefix(b"data:")) + b"\n"
        except UnreadableMessage:
            if not self._noise:
                raise
            return line


def oversized(cut: bytes, request_id: int | None = None) -> bytes:
    """Return the short error that replaces a long answer.

    Args:
        cut: the answer, or its head and tail.
        request_id: given where only an answer to that request can arrive.

    Raises `UnreadableMessage` when `cut` shows no answer.
    """
    if (found := _HEAD.match(cut[:_HEAD_BYTES])) is not None:
        request_id = int(found[1])
    elif _RESULT_FIRST.match(cut) is None:
        raise UnreadableMessage
    elif request_id is None:
        if (found := _TAIL.search(cut[-_TAIL_BYTES:])) is None:
            raise UnreadableMessage
        request_id = int(found[1])
    return b'{"jsonrpc":"2.0","id":%d,"error":{"code":%d,"message":"oversized"}}' % (request_id, OVERSIZED)
