"""One open MCP session: a task of its own opens it, keeps it and closes it; any task may call through it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import httpx2
import mcp_types
from mcp.client.session import ClientSession, IncomingMessage
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from pydantic import TypeAdapter, ValidationError

from adapters.mcp.handshake import all_tools, shake_hands
from adapters.mcp.http import SessionGone, http_streams
from adapters.mcp.outcome import (
    BadOutput,
    CallResult,
    Lost,
    NotSent,
    ToolFailed,
    ToolInfo,
    ToolNotFound,
    Unavailable,
    Unknown,
    read_result,
    words,
)
from adapters.mcp.stdio import stdio_streams
from adapters.mcp.wire import EXCHANGE, MAX_MESSAGE_BYTES, OVERSIZED, Exchange, Outlet
from domain.definition import ToolSource, Transport
from domain.tool_arguments import KEY_ARGUMENTS

log = logging.getLogger(__name__)

IDEMPOTENCY_META = "sagahold/idempotency-key"
# To start a server and shake hands, whoever waits for it: a launcher may have to download the server first.
OPEN_SECONDS = 60.0
# Codes that the SDK also makes up by itself, for an answer that was cut off or is none.
_LOST = frozenset((mcp_types.CONNECTION_CLOSED, mcp_types.PARSE_ERROR, mcp_types.REQUEST_TIMEOUT))
_RESULT: TypeAdapter[mcp_types.CallToolResult] = TypeAdapter(mcp_types.CallToolResult)
_RESOURCE: TypeAdapter[mcp_types.ReadResourceResult] = TypeAdapter(mcp_types.ReadResourceResult)

R = TypeVar("R")


class Session:
    """Belongs to one event loop.

    Attributes:
        busy: calls in flight.
    """

    def __init__(self, source: ToolSource, gone: Callable[["Session"], None]) -> None:
        self._source = source
        self._opened: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        # Looked at here, so that a failure nobody waits for any more is no noise.
        self._opened.add_done_callback(lambda opened: opened.exception())
        self._leaving = False
        self._changed = asyncio.Event()
        self._tools: dict[str, ToolInfo] | None = None
        self._listing = asyncio.Lock()
        self.busy = 0
        self._used_at = time.monotonic()
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

    def retire(self) -> None:
        """No more calls; those in flight may end."""
        self._leaving = True
        self._changed.set()

    async def close(self) -> None:
        """At once; calls in flight are lost."""
        self.retire()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def call(
        self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any], idempotency_key: str, exchange: Exchange
    ) -> CallResult:
        """Raises what `ToolClient.call` raises, and `SessionGone` when the call may be made in a new session."""
        async with self._in_use() as session:
            tools = await self._list(session)
            if tool not in tools:
                # A server behind HTTP may have been replaced by a newer one since.
                tools = await self._list(session, anew=True)
            if tool not in tools:
                raise ToolNotFound(f"tool source {self._source.name!r} has no tool {tool!r}")
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
            answer = session.send_request(request, _RESULT)
            return read_result(tool, await self._answer(answer, f"the tool {tool!r}", exchange))

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
            self._raise(error, what, exchange)

    async def tools(self) -> tuple[ToolInfo, ...]:
        """Raises `Unavailable`."""
        async with self._in_use() as session:
            return tuple((await self._list(session)).values())

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[ClientSession]:
        self.busy += 1
        try:
            yield await asyncio.shield(self._opened)
        finally:
            self.busy -= 1
            self._used_at = time.monotonic()
            self._changed.set()

    async def _list(self, session: ClientSession, anew: bool = False) -> dict[str, ToolInfo]:
        async with self._listing:
            if self._tools is None or anew:
                exchange = Exchange()
                EXCHANGE.set(exchange)
                try:
                    self._tools = await exchange.outcome(all_tools(session))
                except Exception as error:
                    self.retire()
                    raise SessionGone(f"tool source {self._source.name!r} listed no tools: {reason(error)}") from error
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
                log.info("an MCP session ended: %s", reason(error), extra={"tool_source": self._source.name})
            else:
                self._opened.set_exception(
                    Unavailable(f"tool source {self._source.name!r} cannot be used: {reason(error)}")
                )
        finally:
            self.retire()
            if not self._opened.done():
                self._opened.set_exception(Unavailable("the worker is shutting down"))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[ClientSession, "asyncio.Future[None]"]]:
        streams = stdio_streams if self._source.transport is Transport.STDIO else http_streams
        async with contextlib.AsyncExitStack() as stack:
            exchange = Exchange()
            EXCHANGE.set(exchange)
            async with asyncio.timeout(OPEN_SECONDS):
                read, write = await stack.enter_async_context(streams(self._source))
                dispatcher = _Dispatcher(read, Outlet(write))
                session = await stack.enter_async_context(
                    ClientSession(
                        dispatcher=dispatcher,
                        message_handler=self._heard,
                        client_info=mcp_types.Implementation(name="sagahold", version=version("sagahold")),
                    )
                )
                await exchange.outcome(shake_hands(session))
            yield session, dispatcher.ended

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._tools = None

    def _raise(self, error: Exception, what: str, exchange: Exchange) -> NoReturn:
        """Say what came of a call, by what the transport noted or the SDK raised."""
        where = f"tool source {self._source.name!r}"
        match error:
            case SessionGone():
                self.retire()
                raise error
            case NotSent() | Unknown():
                raise type(error)(f"{where}: {error}") from None
            case MCPError(code=code) if code in _LOST and not exchange.sent:
                self.retire()
                raise SessionGone(f"{where}: the connection is closed") from None
            case MCPError(code=code) if code == OVERSIZED:
                raise BadOutput(
                    f"{what} was executed, but its answer is over the limit of {MAX_MESSAGE_BYTES} bytes"
                ) from None
            case MCPError(code=code) if code in _LOST:
                self.retire()
                raise Lost(f"{where} was lost while {what} ran: {words(error.message)}") from None
            case MCPError(code=mcp_types.METHOD_NOT_FOUND):
                raise ToolNotFound(f"{where} does not have {what}: {words(error.message)}") from None
            case MCPError(message=message):
                unknown = message.lower().startswith("unknown tool")
                raise (ToolNotFound if unknown else ToolFailed)(words(message)) from None
            case ValidationError():
                raise BadOutput(f"{what} was executed, but its answer is not as MCP says") from None
        raise Lost(f"{where} was lost while {what} ran: {reason(error)}") from error


class _Dispatcher(JSONRPCDispatcher):
    """Tells when the connection has ended, which the SDK keeps to itself until the next request."""

    def __init__(self, *streams: Any) -> None:
        super().__init__(*streams)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().run(*args, **kwargs)
        finally:
            if not self.ended.done():
                self.ended.set_result(None)


def reason(error: BaseException) -> str:
    """A short text with no address or header in it: those may hold secrets from the environment."""
    match error:
        case BaseExceptionGroup(exceptions=(first, *_)):
            return reason(first)
        case NotSent() | Unknown():
            return str(error)
        case MCPError(code=mcp_types.CONNECTION_CLOSED):
            return "the server closed the connection; what it wrote to stderr is in the worker's log"
        case MCPError():
            return words(error.message)
        case httpx2.HTTPStatusError():
            return f"the server answered HTTP {error.response.status_code}"
        case httpx2.TransportError():
            return f"no connection: {str(error) or type(error).__name__}"
        case TimeoutError():
            return f"it was not ready within {OPEN_SECONDS:g} s"
        case OSError(strerror=str(text)):
            return f"it cannot be started: {text.lower()}"
    return type(error).__name__
