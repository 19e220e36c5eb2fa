"""One open MCP session: a task of its own opens it, keeps it and closes it; any task may call through it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, TypeVar

import mcp_types
from mcp.client.session import ClientSession, IncomingMessage
from pydantic import TypeAdapter, ValidationError

from adapters.mcp.dispatcher import Dispatcher
from adapters.mcp.failures import from_server, is_permanent, raise_outcome, reason
from adapters.mcp.framing import EXCHANGE, Exchange, NotingWriteStream
from adapters.mcp.handshake import all_tools, shake_hands
from adapters.mcp.http import SessionGone, http_streams
from adapters.mcp.outcome import CallResult, Lost, ToolInfo, ToolNotFound, Unavailable, words
from adapters.mcp.result import check_structured, read_result
from adapters.mcp.stdio import stdio_streams
from domain.manifests.definition import ToolSource, Transport
from domain.sagas.tool_arguments import KEY_ARGUMENTS

log = logging.getLogger(__name__)

IDEMPOTENCY_META = "sagahold/idempotency-key"
# For a server to say that it still knows a session.
_PING_SECONDS = 5.0
# A process that has not been ready for so long when a caller gives up is ended, and the next one is started.
_START_SECONDS = 60.0
_RESOURCE: TypeAdapter[mcp_types.ReadResourceResult] = TypeAdapter(mcp_types.ReadResourceResult)

# How far a call has come, as its server says: so much, of how much, and in words.
Progress = Callable[[float, float | None, str | None], None]
R = TypeVar("R")


class McpSession:
    """Belongs to one event loop.

    Attributes:
        busy: calls in flight.
    """

    def __init__(self, source: ToolSource, gone: Callable[["McpSession"], None]) -> None:
        self._source = source
        self._opened: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        # Looked at here, so that a failure nobody waits for any more is no noise.
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
        """It takes no more calls."""
        return self._leaving or self._task.done()

    @property
    def idle_seconds(self) -> float:
        """Since the last call ended."""
        return time.monotonic() - self._used_at

    @property
    def known_tools(self) -> tuple[ToolInfo, ...] | None:
        """What was listed before, and is so still by what the server says."""
        return None if self._tools is None else tuple(self._tools.values())

    def why_missing(self, tool: str) -> str | None:
        """What is wrong with a tool that was listed, and is left out for it."""
        return None if self._dispatcher is None else self._dispatcher.odd_tools.get(tool)

    def retire(self) -> None:
        """No more calls; those in flight may end."""
        self._leaving = True
        self._changed.set()
        self._drop_opening()

    async def close(self) -> None:
        """At once; calls in flight are lost."""
        self.retire()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        meta: Mapping[str, Any],
        idempotency_key: str,
        exchange: Exchange,
        progress: Progress | None = None,
    ) -> CallResult:
        """Raises what `ToolClient.call` raises, and `SessionGone` when the call may be made in a new session."""
        async with self._in_use() as session:
            tools = await self._list(session)
            if tool not in tools:
                # A server behind HTTP may have been replaced by a newer one since.
                tools = await self._list(session, anew=True)
            if tool not in tools:
                why = self.why_missing(tool)
                lists = f"lists the tool {tool!r}, but it cannot be used: {why}" if why else f"has no tool {tool!r}"
                raise ToolNotFound(f"tool source {self._source.name!r} {lists}")
            wanted = tools[tool].input_schema.get("properties") or {}
            given = dict(arguments)
            for name in KEY_ARGUMENTS:
                if name in wanted:
                    given.setdefault(name, idempotency_key)
            request = mcp_types.CallToolRequest(
                params=mcp_types.CallToolRequestParams.model_validate(
                    {"name": tool, "arguments": given, "_meta": {**meta, IDEMPOTENCY_META: idempotency_key}},
                )
            )
            answer = _as_it_came(session, request, exchange, progress)
            try:
                result = await self._answer(answer, f"the tool {tool!r}", exchange)
            except SessionGone as gone:
                if gone.sent and await self._knows_us(session):
                    text = f"tool source {self._source.name!r} answered HTTP 404 or 400, and it still knows the session"
                    raise Lost(text) from None
                raise
            read = read_result(tool, result)
            await check_structured(tool, tools[tool].output_schema, result)
            return read

    async def read_resource(self, uri: str, exchange: Exchange) -> str:
        """Its texts; what is not text is left out. Raises as `call` does."""
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
            # At the deadline. A server that did not answer in time is not trusted with the next call.
            if exchange.sent:
                self.retire()
            raise
        except Exception as error:
            # What refuses a call, or garbles its answer, may do so to all others of this session.
            if exchange.refused or not from_server(error):
                self.retire()
            raise_outcome(error, self._source, what, exchange)

    async def _knows_us(self, session: ClientSession) -> bool:
        """Whether the server certainly still knows the session: then it is not for want of one that it refused."""
        exchange = Exchange()
        EXCHANGE.set(exchange)
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await exchange.outcome(session.send_ping())
        except Exception as error:
            return from_server(error)
        return True

    async def tools(self) -> tuple[ToolInfo, ...]:
        """Raises `Unavailable`."""
        async with self._in_use() as session:
            return tuple((await self._list(session)).values())

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[ClientSession]:
        self.busy += 1
        try:
            try:
                opened = await asyncio.shield(self._opened)
            except asyncio.CancelledError:
                # It took longer than this caller has. A process that starts is left to start for the next one.
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
        """However long it takes to open, somebody has to wait for it."""
        if self._leaving and not self._opened.done() and not self.busy:
            self._task.cancel()

    async def _list(self, session: ClientSession, anew: bool = False) -> dict[str, ToolInfo]:
        async with self._listing:
            if self._tools is None or anew:
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
                self._opened.set_exception(Unavailable(text, permanent=is_permanent(error)))
        finally:
            self.retire()
            if not self._opened.done():
                self._opened.set_exception(Unavailable("the worker is shutting down"))

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
                    message_handler=self._heard,
                    client_info=mcp_types.Implementation(name="sagahold", version=version("sagahold")),
                )
            )
            await shake_hands(session)
            dispatcher.version = session.protocol_version or dispatcher.version
            self._dispatcher = dispatcher
            yield session, dispatcher.ended

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._tools = None


async def _as_it_came(
    session: ClientSession, request: mcp_types.CallToolRequest, exchange: Exchange, told: Progress | None
) -> Mapping[str, Any]:
    """The result, also where the SDK finds that it is not as MCP says: by then the tool has run."""

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        if told is not None:
            told(progress, total, message)

    try:
        # Progress is always asked for: what stands between here and the server may cut a silent call off.
        await session.send_request(request, mcp_types.Result, progress_callback=heard)
    except ValidationError:
        if exchange.result is None:
            raise
    assert exchange.result is not None, "the dispatcher notes each result"
    return exchange.result
