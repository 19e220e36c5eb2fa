"""An MCP session: its own task opens, keeps and closes it, and any task may call through it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import mcp_types
from mcp.client.session import ClientSession, IncomingMessage
from pydantic import TypeAdapter, ValidationError

from adapters.mcp.dispatcher import Dispatcher
from adapters.mcp.failures import from_server, is_permanent, raise_outcome, reason
from adapters.mcp.framing import EXCHANGE, Exchange, NotingWriteStream
from adapters.mcp.handshake import all_tools, shake_hands
from adapters.mcp.http import SessionGone, http_streams
from adapters.mcp.outcome import CallError, ToolInfo, unavailable, words
from adapters.mcp.result import check_structured, read_result
from adapters.mcp.stdio import stdio_streams
from domain.manifests.definition import ToolSource, Transport
from domain.sagas.tool_arguments import KEY_ARGUMENTS
from domain.values.version import VERSION

log = logging.getLogger(__name__)

IDEMPOTENCY_META = "sagahold/idempotency-key"
# The time for a server to say that it still knows a session.
_PING_SECONDS = 5.0
# If a process is not ready after this time and a caller gives up, it is ended. The next call starts another.
_START_SECONDS = 60.0
_RESOURCE: TypeAdapter[mcp_types.ReadResourceResult] = TypeAdapter(mcp_types.ReadResourceResult)

# The progress of a call, as its server reports it: the progress, the total, and a message.
Progress = Callable[[float, float | None, str | None], None]
R = TypeVar("R")


class McpSession:
    """A session, which belongs to one event loop.

    Attributes:
        busy: calls in flight.
    """

    def __init__(self, source: ToolSource, gone: Callable[["McpSession"], None]) -> None:
        self._source = source
        self._opened: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        # Retrieved here, so that asyncio does not log a failure without a waiter.
        self._opened.add_done_callback(lambda opened: opened.exception())
        self._leaving = False
        self._changed = asyncio.Event()
        self._tools: dict[str, ToolInfo] | None = None
        self._listing = asyncio.Lock()
        self._dispatcher: Dispatcher | None = None
        self.busy = 0
        self._made_at = self._used_at = time.monotonic()
        self._task = asyncio.create_task(self._live())
        self._task.add_done_callback(lambda _: gone(self))

    @property
    def over(self) -> bool:
        """Whether it takes no more calls."""
        return self._leaving or self._task.done()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last call ended."""
        return time.monotonic() - self._used_at

    def why_missing(self, tool: str) -> str | None:
        """Return what is wrong with a listed tool that was left out."""
        return None if self._dispatcher is None else self._dispatcher.odd_tools.get(tool)

    def retire(self) -> None:
        """Take no more calls. Those in flight may end."""
        self._leaving = True
        self._changed.set()
        self._drop_opening()

    async def close(self) -> None:
        """End the session at once. The outcomes of calls in flight are lost."""
        self.retire()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def call(
        self,
        tool: ToolInfo,
        arguments: Mapping[str, Any],
        meta: Mapping[str, Any],
        idempotency_key: str,
        exchange: Exchange,
        progress: Progress | None = None,
    ) -> Any:
        """Return the result as JSON. Raises `CallError`, and `SessionGone` when the call may be made in a new
        session."""
        async with self._in_use() as session:
            wanted = tool.input_schema.get("properties") or {}
            given = dict(arguments)
            for name in KEY_ARGUMENTS:
                if name in wanted:
                    given.setdefault(name, idempotency_key)
            request = mcp_types.CallToolRequest(
                params=mcp_types.CallToolRequestParams.model_validate(
                    {"name": tool.name, "arguments": given, "_meta": {**meta, IDEMPOTENCY_META: idempotency_key}},
                )
            )
            answer = _raw_result(session, request, exchange, progress)
            try:
                result = await self._answer(answer, f"the tool {tool.name!r}", exchange)
            except SessionGone as gone:
                if gone.sent and await self._knows_us(session):
                    text = f"tool source {self._source.name!r} answered HTTP 404 or 400, and it still knows the session"
                    raise CallError.lost(text) from None
                raise
            read = read_result(tool.name, result)
            await check_structured(tool.name, tool.output_schema, result)
            return read

    async def read_resource(self, uri: str, exchange: Exchange) -> str:
        """Return the resource's texts, without anything else. Raises as `call` does."""
        async with self._in_use() as session:
            request = mcp_types.ReadResourceRequest(params=mcp_types.ReadResourceRequestParams(uri=uri))
            answer = session.send_request(request, _RESOURCE)
            result = await self._answer(answer, f"the resource {words(uri)!r}", exchange)
            return "\n".join(part.text for part in result.contents if isinstance(part, mcp_types.TextResourceContents))

    async def _answer(self, answer: Awaitable[R], what: str, exchange: Exchange) -> R:
        EXCHANGE.set(exchange)
        try:
            return await exchange.outcome(answer)
        except asyncio.CancelledError:
            # The deadline has passed. The next call does not use a server that did not answer in time.
            if exchange.sent:
                self.retire()
            raise
        except Exception as error:
            # A server that refuses a call, or garbles its answer, may do the same to the session's other calls.
            if exchange.refused or not from_server(error):
                self.retire()
            raise_outcome(error, self._source, what, exchange)

    async def _knows_us(self, session: ClientSession) -> bool:
        """Whether the server certainly still knows the session, so that it refused for another reason."""
        exchange = Exchange()
        EXCHANGE.set(exchange)
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await exchange.outcome(session.send_ping())
        except Exception as error:
            return from_server(error)
        return True

    async def tools(self) -> tuple[ToolInfo, ...]:
        """Return the server's tools. Raises `CallError`."""
        async with self._in_use() as session:
            return tuple((await self._list(session)).values())

    async def find(self, tool: str) -> ToolInfo | None:
        """Return the tool; None: the server does not list it. Raises `CallError`."""
        async with self._in_use() as session:
            return (await self._list(session)).get(tool)

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[ClientSession]:
        self.busy += 1
        try:
            try:
                opened = await asyncio.shield(self._opened)
            except asyncio.CancelledError:
                # Opening took longer than this caller has. A process continues to start, for the next caller.
                slow = self._source.transport is Transport.STDIO and time.monotonic() - self._made_at < _START_SECONDS
                if not slow:
                    self.retire()
                raise
            yield opened
        finally:
            self.busy -= 1
            self._used_at = time.monotonic()
            self._changed.set()
            self._drop_opening()

    def _drop_opening(self) -> None:
        """Stop opening a session that has no caller left."""
        if self._leaving and not self._opened.done() and not self.busy:
            self._task.cancel()

    async def _list(self, session: ClientSession) -> dict[str, ToolInfo]:
        async with self._listing:
            if self._tools is None:
                exchange = Exchange()
                EXCHANGE.set(exchange)
                try:
                    self._tools = await exchange.outcome(all_tools(session))
                except Exception as error:
                    self.retire()
                    text = f"tool source {self._source.name!r} listed no tools: {reason(error, self._source)}"
                    raise SessionGone(text, permanent=is_permanent(error)) from error
            return self._tools

    async def _live(self) -> None:
        try:
            async with self._connected() as (session, ended):
                ended.add_done_callback(lambda _: self.retire())
                self._opened.set_result(session)
                while not ended.done() and (self.busy or not self._leaving):
                    self._changed.clear()
                    await self._changed.wait()
        except Exception as error:
            if self._opened.done():
                why = reason(error, self._source)
                log.info("an MCP session ended: %s", why, extra={"tool_source": self._source.name})
            else:
                text = f"tool source {self._source.name!r} cannot be used: {reason(error, self._source)}"
                self._opened.set_exception(CallError(unavailable(text, permanent=is_permanent(error))))
        finally:
            self.retire()
            if not self._opened.done():
                self._opened.set_exception(CallError(unavailable("the worker is shutting down")))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[ClientSession, "asyncio.Future[None]"]]:
        stdio = self._source.transport is Transport.STDIO
        async with contextlib.AsyncExitStack() as stack:
            EXCHANGE.set(None)
            read, write = await stack.enter_async_context((stdio_streams if stdio else http_streams)(self._source))
            # Over HTTP the request leaves later, by a task of the transport's own.
            dispatcher = Dispatcher(self._source.name, read, NotingWriteStream(write) if stdio else write)
            session = await stack.enter_async_context(
                ClientSession(
                    dispatcher=dispatcher,
                    message_handler=self._on_message,
                    client_info=mcp_types.Implementation(name="sagahold", version=VERSION),
                )
            )
            await shake_hands(session)
            dispatcher.version = session.protocol_version or dispatcher.version
            self._dispatcher = dispatcher
            yield session, dispatcher.ended

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._tools = None


async def _raw_result(
    session: ClientSession, request: mcp_types.CallToolRequest, exchange: Exchange, on_progress: Progress | None
) -> Mapping[str, Any]:
    """Return the result, even if the SDK finds that it violates MCP: by then the tool has run."""

    async def report(progress: float, total: float | None, message: str | None) -> None:
        if on_progress is not None:
            on_progress(progress, total, message)

    try:
        # Progress is always requested, as a proxy on the way may cut off a silent call.
        await session.send_request(request, mcp_types.Result, progress_callback=report)
    except ValidationError:
        if exchange.result is None:
            raise
    assert exchange.result is not None, "the dispatcher notes each result"
    return exchange.result
