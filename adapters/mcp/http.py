"""What the SDK's HTTP transports send through: answers of bounded size, and an exact note of what became of a request.

No redirects to elsewhere, no proxies or credentials from the environment, no compression. Tool sources are deployed by
admins and commonly private, so they are not subject to the rule of public addresses (`adapters.egress`).
"""

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from adapters.mcp import rpc
from adapters.mcp.events import Events
from adapters.mcp.framing import EXCHANGE, MAX_MESSAGE_BYTES, Exchange, UnreadableMessage, oversized
from adapters.mcp.outcome import LeaseLost, Lost, Unavailable
from adapters.mcp.result import excerpt
from domain.manifests.definition import ToolSource, Transport

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

# It logs each request with its URL and session, which are as good as credentials.
logging.getLogger("httpx2").setLevel(logging.WARNING)
# Its errors quote what the server sent, or tell that an answer came when its session was closed. What matters of them
# is said by the calls that fail.
logging.getLogger("mcp").setLevel(logging.CRITICAL)

# A request's own deadline comes from outside; these bound what nobody waits for. Seconds.
_CONNECT_SECONDS = 30.0
_NOTICE_SECONDS = 5.0
_MAX_REDIRECTS = 3
# An error page is read for a JSON-RPC error only.
_MAX_ERROR_BYTES = 64 * 1024
# Statuses by which a server says that it would refuse the same again.
PERMANENT = frozenset((401, 402, 403, 405, 406, 410, 411, 414, 415, 426, 451))
# Not 303: that one follows an execution.
_REDIRECTS = frozenset((301, 302, 307, 308))
_KEPT_REDIRECTS = frozenset((307, 308))
_NO_SESSION = re.compile(r"bad request: .*(session|initializ)", re.I | re.S)
# JSON-RPC errors by which a server says that it did not look at a call, by the statuses they come with.
_NOT_LOOKED_AT = {
    400: frozenset((-32700, -32600, -32601, -32602, -32020, -32021, -32022)),
    404: frozenset((-32601, -32602)),
}
# What is traced immediately before the bytes of a request are written, its connection being open.
_DEPARTURES = ("http11.send_request_headers.started", "http11.send_request_body.started")


class SessionGone(Unavailable):
    """The server no longer knows the session: the call may be made in a new one.

    Attributes:
        sent: the call was sent in the old one. By the protocol it was not looked at, and so may be sent once more.
    """

    def __init__(self, text: str, *, sent: bool = False, permanent: bool = False) -> None:
        super().__init__(text, permanent=permanent)
        self.sent = sent


@asynccontextmanager
async def http_streams(source: ToolSource) -> "AsyncIterator[TransportStreams]":
    """By streamable HTTP or SSE. Raises what `httpx2` raises when the server cannot be reached."""
    url = source.url or ""
    if source.transport is Transport.SSE:

        def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
            return _client(source)

        async with sse_client(url, httpx_client_factory=client) as streams:
            yield streams
    else:
        async with (
            _client(source) as http,
            streamable_http_client(url, http_client=http, max_sse_event_size=2 * MAX_MESSAGE_BYTES) as streams,
        ):
            yield streams


def _client(source: ToolSource) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        headers={**source.headers, "accept-encoding": "identity", "user-agent": "Sagahold"},
        transport=_Transport(source.transport),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        trust_env=False,
        follow_redirects=False,
    )


class _Transport(httpx2.AsyncBaseTransport):
    """One request's failure is noted in its exchange and ends that request only: the SDK would end the session."""

    def __init__(self, transport: Transport) -> None:
        # A peer that vanished without a word is found out by the kernel.
        self._inner = httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(max_connections=256, max_keepalive_connections=32),
            socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
        )
        # Where the answer comes in the response to its request, and not on a stream apart.
        self._answers_here = transport is Transport.STREAMABLE_HTTP

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            response = await self._inner.handle_async_request(request)
            return _streamed(response) if _is(response, "text/event-stream") else await _emptied(response)
        exchange = EXCHANGE.get()
        if request.method != "POST" or exchange is None or (request_id := _request_id(await request.aread())) is None:
            return await self._notice(request)
        # Asked when the connection is open: to open one may take long.
        request.extensions["trace"] = _departing(exchange)
        try:
            return await self._exchange(request, request_id, exchange)
        except LeaseLost as error:
            exchange.fail(error)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            exchange.fail(Unavailable(f"no connection: {str(error) or type(error).__name__}"))
        except (httpx2.RequestError, UnreadableMessage) as error:
            exchange.fail(Lost(f"the connection was lost: {str(error) or type(error).__name__}"))
        return httpx2.Response(202)

    async def _notice(self, request: httpx2.Request) -> httpx2.Response:
        """What needs no answer. It must not hold up the requests that the SDK sends after it."""
        with contextlib.suppress(TimeoutError, httpx2.RequestError):
            async with asyncio.timeout(_NOTICE_SECONDS):
                await _emptied(await self._inner.handle_async_request(request))
        return httpx2.Response(200)

    async def _exchange(self, request: httpx2.Request, request_id: int, exchange: Exchange) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if response.status_code in _REDIRECTS and "location" in response.headers:
            return await _redirected(request, response, exchange)
        if response.status_code >= 300:
            return await self._refused(request, request_id, response, exchange)
        if not self._answers_here:
            return await _emptied(response)
        if response.headers.get("content-encoding", "identity") != "identity":
            exchange.fail(Lost("the answer is compressed, though that was not asked for"))
            return await _emptied(response)
        if _is(response, "text/event-stream"):
            return _streamed(response, exchange, request_id)
        return _answered(request_id, response, await _read(response, MAX_MESSAGE_BYTES, request_id), exchange)

    async def _refused(
        self, request: httpx2.Request, request_id: int, response: httpx2.Response, exchange: Exchange
    ) -> httpx2.Response:
        """Its status alone does not say whether a call was carried out: handlers and proxies refuse after that."""
        status = response.status_code
        exchange.refused = status
        body = await _read_error(response)
        error = rpc.error_of(body)
        code = None if error is None else error["code"]
        text = f"the server answered HTTP {status}" + (f": {error['message']}" if error is not None else "")
        in_session = "mcp-session-id" in request.headers
        if in_session and _forgot_session(status, error):
            exchange.fail(SessionGone("the server no longer knows the session", sent=exchange.call))
        elif exchange.call:
            if self._answers_here and code in _NOT_LOOKED_AT.get(status, ()):
                return _passed_on(request_id, body)
            exchange.fail(Lost(text, excerpt(body) or None))
        elif status in PERMANENT:
            hint = ": look at the credentials in its `headers`" if status in (401, 403) else ""
            exchange.fail(Unavailable(f"{text}{hint}", permanent=True))
        elif self._answers_here and status < 500 and error is not None:
            return _passed_on(request_id, body)
        else:
            exchange.fail(Unavailable(text))
        return httpx2.Response(202)


def _departing(exchange: Exchange) -> Callable[[str, Any], Coroutine[Any, Any, None]]:
    async def trace(event: str, about: Any) -> None:
        if event in _DEPARTURES:
            exchange.depart()

    return trace


def _answered(request_id: int, response: httpx2.Response, body: bytes, exchange: Exchange) -> httpx2.Response:
    try:
        message = rpc.tidied(body, request_id)
    except rpc.ResponseMismatch:
        exchange.fail(Lost("the server's answer is no answer to the request", excerpt(body)))
        return httpx2.Response(202)
    if message is None or "method" in (rpc.parsed(message) or {}):
        # Nothing else can come here, so nobody should go on waiting.
        exchange.fail(Lost(f"HTTP {response.status_code} with no MCP answer in it", excerpt(body)))
        return httpx2.Response(202)
    headers = [(name, value) for name, value in _without_framing(response) if name.lower() != "content-type"]
    return httpx2.Response(200, headers=[*headers, ("content-type", "application/json")], content=message)


async def _redirected(request: httpx2.Request, response: httpx2.Response, exchange: Exchange) -> httpx2.Response:
    """Within the server the SDK follows, so long as the message stays whole."""
    exchange.redirects += 1
    target = request.url.join(response.headers.get("location", ""))
    here = (request.url.scheme, request.url.host, request.url.port)
    if (
        response.status_code in _KEPT_REDIRECTS
        and exchange.redirects <= _MAX_REDIRECTS
        and (target.scheme, target.host, target.port) == here
        and not target.userinfo
    ):
        await response.aclose()
        return httpx2.Response(response.status_code, headers={"location": response.headers["location"]})
    exchange.refused = response.status_code
    text = "the server redirects to elsewhere: put the address of the MCP endpoint itself in `url`"
    # Some gateways redirect after the act, all the same: another try would be another act, and would find the same.
    exchange.fail(Unavailable(text, permanent=True))
    return await _emptied(response)


def _forgot_session(status: int, error: Mapping[str, Any] | None) -> bool:
    """The SDKs' servers say it by 404, or by 400 and such a text."""
    if status == 404:
        return error is None or error["code"] not in _NOT_LOOKED_AT[404]
    return status == 400 and error is not None and _NO_SESSION.match(error["message"]) is not None


def _passed_on(request_id: int, body: bytes) -> httpx2.Response:
    """The server's error as an answer, whosever it says it is: it is the only one to come."""
    message = {**rpc.parsed(body), "id": request_id}
    content = rpc.tidied(json.dumps(message).encode(), request_id)
    return httpx2.Response(200, headers={"content-type": "application/json"}, content=content)


async def _read(response: httpx2.Response, limit: int, request_id: int | None = None) -> bytes:
    """The body; an answer over the limit is replaced by a short error. Raises `UnreadableMessage`."""
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                return oversized(bytes(body), request_id)
    finally:
        await response.aclose()
    return bytes(body)


async def _read_error(response: httpx2.Response) -> bytes:
    try:
        return await _read(response, _MAX_ERROR_BYTES)
    except (UnreadableMessage, httpx2.RequestError):
        return b""


async def _emptied(response: httpx2.Response) -> httpx2.Response:
    """The response with the little of its body that there should be left out."""
    await _read_error(response)
    return httpx2.Response(response.status_code, headers=_without_framing(response))


def _streamed(
    response: httpx2.Response, exchange: Exchange | None = None, request_id: int | None = None
) -> httpx2.Response:
    stream = Events(response, exchange, request_id)
    return httpx2.Response(response.status_code, headers=_without_framing(response), stream=stream)


def _without_framing(response: httpx2.Response) -> list[tuple[str, str]]:
    framing = ("content-length", "content-encoding", "transfer-encoding", "connection")
    return [(name, value) for name, value in response.headers.multi_items() if name.lower() not in framing]


def _is(response: httpx2.Response, content_type: str) -> bool:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() == content_type


def _request_id(body: bytes) -> int | None:
    message = json.loads(body)
    return message["id"] if "method" in message and isinstance(message.get("id"), int) else None
