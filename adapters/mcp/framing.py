"""What the transports have in common: a note of how far a request got, and messages of bounded size.

The SDK tells a caller of a failed request too little: a refused connection, a proxy's 502 and a tool's own error look
alike. So each request carries an `Exchange` (by a context variable, which the SDK hands on to the task that sends), in
which the transport notes what it sees.
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

from adapters.mcp.outcome import LeaseLost

if TYPE_CHECKING:
    from mcp.client._transport import WriteStream

# A message with all that is around it. The SDK's SSE client stops at an event of 1 MiB, its framing included.
MAX_MESSAGE_BYTES = 1024 * 1024 - 4096
# The error code that an answer over the limit is replaced by, before it reaches the SDK.
OVERSIZED = -32091
# Where an answer says whose it is: servers write `result` first or last.
_HEAD_BYTES = 256
_TAIL_BYTES = 128
_HEAD = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)\s*,[^{}]*"result"\s*:')
_RESULT_FIRST = re.compile(rb'\s*\{\s*"result"\s*:')
_TAIL = re.compile(rb'\}\s*,\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"[^{}]*)?\}\s*$')

T = TypeVar("T")


class UnreadableMessage(Exception):
    """Too much came, and it does not say which request it answers."""


class Exchange:
    """One request on its way.

    Attributes:
        call: it calls a tool: it may have been carried out as soon as something of it has left us.
        sent: something of it may have left us.
        redirects: how often it was sent on within the server.
        refused: the HTTP status by which the server refused it, or 0.
        result: what came as its result, as the server wrote it.
        unread: what came instead of an answer and could not be read.
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
        """Called immediately before bytes of it are written. Raises `LeaseLost`: then they must not be."""
        with self._departing:
            if self._over or (self._ours is not None and not self._ours()):
                raise LeaseLost("the worker lost the saga before it could call the tool")
            self.sent = True

    def give_up(self) -> bool:
        """Nothing of it leaves us from now on. Returns whether something has."""
        with self._departing:
            self._over = True
            return self.sent

    def fail(self, error: Exception) -> None:
        """The transport knows better than the SDK what came of it. The first to say so is right."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def outcome(self, answer: Awaitable[T]) -> T:
        """The answer, or what the transport has noted, which wins over the SDK's error."""
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
            # Its unwinding tells the server that nobody waits any more.
            await asyncio.gather(task, return_exceptions=True)
            self._failure.cancel()


EXCHANGE: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class NotingWriteStream:
    """The write stream of a transport that writes in the caller's task: notes that the request leaves."""

    def __init__(self, inner: "WriteStream[SessionMessage]") -> None:
        self._inner = inner

    async def send(self, item: SessionMessage, /) -> None:
        if (exchange := EXCHANGE.get()) is None or not isinstance(item.message, JSONRPCRequest):
            return await self._inner.send(item)
        exchange.depart()
        try:
            await self._inner.send(item)
        except anyio.ClosedResourceError:  # it was closed before; what breaks while it is sent is another error
            exchange.sent = False
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()


class LineSplitter:
    """Cuts a stream into lines (their ends included) and replaces an answer over the limit by a short error.

    A line over the limit that is no answer raises `UnreadableMessage`, or is cut to its head and tail if `noise` is
    expected.
    """

    def __init__(self, *, noise: bool = False) -> None:
        self._noise = noise
        self._rest = bytearray()
        self._skipped = 0  # bytes of a too long line that were let go; its head and tail stay in `_rest`

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Raises `UnreadableMessage`."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk[start : end + 1])
            yield self._take()
            start = end + 1
        self._add(chunk[start:])

    def last(self) -> bytes:
        """What came after the last end of line, at the stream's end. Raises `UnreadableMessage`."""
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
    """The short error instead of a long answer.

    Args:
        cut: the answer, or its head and tail.
        request_id: when only an answer to that request can come here.

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
