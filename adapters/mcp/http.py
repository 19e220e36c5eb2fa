"""The HTTP layer under the SDK's transports: it bounds answers, and notes exactly how far a request got.

It follows no redirects to other servers, uses no proxies or credentials from the environment, and allows no
compression. Admins deploy tool sources, which are commonly private. So the rule of public addresses (`adapters.egress`)
does not apply.
"""

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from adapters.mcp import rpc
from adapters.mcp.events import Events
from adapters.mcp.framing import EXCHANGE, MAX_MESSAGE_BYTES, Exchange, UnreadableMessage, oversized
from adapters.mcp.outcome import CallError, unavailable
from adapters.mcp.result import excerpt
from domain.manifests.definition import ToolSource, Transport

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

# It logs each request with its URL and session, which may serve as credentials.
logging.getLogger("httpx2").setLevel(logging.WARNING)
# Its errors quote the server, or report an answer that arrived after its session was closed. The failing calls report
# all that matters.
logging.getLogger("mcp").setLevel(logging.CRITICAL)

# The caller sets the deadline of a request. These bound the rest, in seconds.
_CONNECT_SECONDS = 30.0
_NOTICE_SECONDS = 5.0
_MAX_REDIRECTS = 3
# An error page is read only for a JSON-RPC error.
_MAX_ERROR_BYTES = 64 * 1024
# Statuses of a server that would refuse the same request again.
PERMANENT = frozenset((401, 402, 403, 405, 406, 410, 411, 414, 415, 426, 451))
# Without 303, which follows an execution.
_REDIRECTS = frozenset((301, 302, 307, 308))
_KEPT_REDIRECTS = frozenset((307, 308))
_NO_SESSION = re.compile(r"bad request: .*(session|initializ)", re.I | re.S)
# JSON-RPC errors of a server that did not look at the call, by HTTP status.
_NOT_LOOKED_AT = {
    400: frozenset((-32700, -32600, -32601, -32602, -32020, -32021, -32022)),
    404: frozenset((-32601, -32602)),
}
# The trace events immediately before the bytes of a request are written, when its connection is open.
_DEPARTURES = ("http11.send_request_headers.started", "http11.send_request_body.started")


class SessionGone(CallError):
    """The server no longer knows the session, and the call may be made in a new one.

    Attributes:
        sent: the call was sent in the old one. By the protocol the server did not look at it, so it may be repeated.
    """

    def __init__(self, text: str, *, sent: bool = False, permanent: bool = False) -> None:
        super().__init__(unavailable(text, permanent=permanent))
        self.sent = sent


@asynccontextmanager
async def http_streams(source: ToolSource) -> "AsyncIterator[TransportStreams]":
    """Open the streams of streamable HTTP or SSE. Raises the errors of `httpx2` for a server out of reach."""
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


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context of all connections. To read the trusted certificates took each session up to 0.2 s."""
    return httpx2.create_ssl_context()


def _client(source: ToolSource) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        headers={**source.headers, "accept-encoding": "identity", "user-agent": "Sagahold"},
        transport=_Transport(source.transport),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        trust_env=False,
        follow_redirects=False,
    )


class _Transport(httpx2.AsyncBaseTransport):
    """A transport that notes a failure in the request's exchange, and ends that request only.

    The SDK would end the session.
    """

    def __init__(self, transport: Transport) -> None:
        # The kernel detects a peer that vanished.
        self._inner = httpx2.AsyncHTTPTransport(
            verify=tls_context(),
            limits=httpx2.Limits(max_connections=256, max_keepalive_connections=32),
            socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
        )
        # Whether the answer is in the response to its request, and not on a separate stream.
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
        # Checked when the connection is open, as opening may take long.
        request.extensions["trace"] = _departing(exchange)
        try:
            return await self._exchange(request, request_id, exchange)
        except CallError as error:
            exchange.fail(error)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            exchange.fail(CallError(unavailable(f"no connection: {str(error) or type(error).__name__}")))
        except (httpx2.RequestError, UnreadableMessage) as error:
            exchange.fail(CallError.lost(f"the connection was lost: {str(error) or type(error).__name__}"))
        return httpx2.Response(202)

    async def _notice(self, request: httpx2.Request) -> httpx2.Response:
        """Send a message that needs no answer. It must not delay the requests that the SDK sends after it."""
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
            exchange.fail(CallError.lost("the answer is compressed, though that was not asked for"))
            return await _emptied(response)
        if _is(response, "text/event-stream"):
            return _streamed(response, exchange, request_id)
        return _answered(request_id, response, await _read(response, MAX_MESSAGE_BYTES, request_id), exchange)

    async def _refused(
        self, request: httpx2.Request, request_id: int, response: httpx2.Response, exchange: Exchange
    ) -> httpx2.Response:
        """Note why the server refused. The status does not say whether a call was carried out."""
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
            exchange.fail(CallError.lost(text, excerpt(body) or None))
        elif status in PERMANENT:
            hint = ": look at the credentials in its `headers`" if status in (401, 403) else ""
            exchange.fail(CallError(unavailable(f"{text}{hint}", permanent=True)))
        elif self._answers_here and status < 500 and error is not None:
            return _passed_on(request_id, body)
        else:
            exchange.fail(CallError(unavailable(text)))
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
        exchange.fail(CallError.lost("the server's answer is no answer to the request", excerpt(body)))
        return httpx2.Response(202)
    if message is None or "method" in (rpc.parsed(message) or {}):
        # No other answer can arrive here, so the wait ends.
        exchange.fail(CallError.lost(f"HTTP {response.status_code} with no MCP answer in it", excerpt(body)))
        return httpx2.Response(202)
    headers = [(name, value) for name, value in _without_framing(response) if name.lower() != "content-type"]
    return httpx2.Response(200, headers=[*headers, ("content-type", "application/json")], content=message)


async def _redirected(request: httpx2.Request, response: httpx2.Response, exchange: Exchange) -> httpx2.Response:
    """Let the SDK follow a redirect within the server that keeps the message whole. Refuse any other."""
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
    # Some gateways redirect after the call was carried out. Another try would carry it out again, to the same end.
    exchange.fail(CallError(unavailable(text, permanent=True)))
    return await _emptied(response)


def _forgot_session(status: int, error: Mapping[str, Any] | None) -> bool:
    """Whether the server lost the session. The SDKs' servers send 404, or 400 with such a text."""
    if status == 404:
        return error is None or error["code"] not in _NOT_LOOKED_AT[404]
    return status == 400 and error is not None and _NO_SESSION.match(error["message"]) is not None


def _passed_on(request_id: int, body: bytes) -> httpx2.Response:
    """Pass on the server's error as the answer. Its id does not matter: no other answer arrives."""
    message = {**rpc.parsed(body), "id": request_id}
    content = rpc.tidied(json.dumps(message).encode(), request_id)
    return httpx2.Response(200, headers={"content-type": "application/json"}, content=content)


async def _read(response: httpx2.Response, limit: int, request_id: int | None = None) -> bytes:
    """Return the body. A short error replaces an answer over the limit. Raises `UnreadableMessage`."""
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
    """Return the response without its body, which should be short."""
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
