"""HTTP requests to a model's provider, with bounded answers, and retries where no answer arrived.

A retry repeats a request to the model, never a tool call: those are between the requests. The library's own retries
need another package, and do not know the step's deadline.
"""

import asyncio
import logging
import random
import re
import socket
from collections.abc import AsyncIterator
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from adapters.llm.settings import LlmSettings

# With OPENAI_LOG or ANTHROPIC_LOG in the environment, they log prompts and addresses. Both set levels on import.
# So the loggers lose their handlers instead.
for _name in ("openai", "anthropic", "httpx2", "httpcore2", "pydantic_ai"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False

# The deadline of the step, by the loop's clock.
DEADLINE: ContextVar[float] = ContextVar("deadline")
MAX_BODY_BYTES = 8 * 1024 * 1024
# Too many requests, three statuses of proxies, and 529, by which Anthropic says that it is overloaded.
_TRANSIENT = frozenset((429, 502, 503, 504, 529))
# Seconds without a byte. A slow model sends nothing until it is done, but a provider that is silent for this long is
# gone. The step's deadline ends most requests before.
_READ_SECONDS = 300.0
_CONNECT_SECONDS = 10.0
_WRITE_SECONDS = 60.0
_LIMITS = httpx2.Limits(max_connections=512, max_keepalive_connections=64, keepalive_expiry=30.0)


class ResponseTooLarge(httpx2.TransportError):
    """The answer is over the limit."""


class Compressed(httpx2.TransportError):
    """The answer is compressed, unasked: its full size is unknown."""


class Redirected(httpx2.TransportError):
    """The provider redirects. Prompts and keys go only to the configured address."""


def http_client(settings: LlmSettings) -> httpx2.AsyncClient:
    """Make the client of one provider, which reuses connections.

    It uses no proxies or credentials from the environment, and follows no redirects.
    """
    return httpx2.AsyncClient(
        transport=_Transport(settings), timeout=timeout(), trust_env=False, follow_redirects=False, headers={}
    )


def timeout() -> httpx2.Timeout:
    # The pool has no deadline of its own: a request that waits there waits for the provider, too.
    return httpx2.Timeout(None, connect=_CONNECT_SECONDS, read=_READ_SECONDS, write=_WRITE_SECONDS)


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, settings: LlmSettings) -> None:
        # The kernel detects a peer that vanished.
        self._inner = httpx2.AsyncHTTPTransport(
            limits=_LIMITS, trust_env=False, socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        )
        self._settings = settings

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        request.headers["accept-encoding"] = "identity"
        attempts = self._settings.retry_max_attempts if self._settings.retry_enabled else 1
        attempt = 1
        while True:
            floor = 0.0
            failure: httpx2.TransportError | None = None
            try:
                response = await self._whole(request)
                if response.status_code not in _TRANSIENT:
                    return response
                floor = _retry_after(response)
            except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                failure = error
            pause = max(floor, self._pause(attempt))
            if attempt >= attempts or asyncio.get_running_loop().time() + pause >= DEADLINE.get():
                if failure is not None:
                    raise failure
                return response
            await asyncio.sleep(pause)
            attempt += 1

    def _pause(self, attempt: int) -> float:
        """Return the seconds to wait, with full jitter: requests that failed together do not return together."""
        longest = min(self._settings.retry_max_delay, self._settings.retry_base_delay * 2 ** (attempt - 1))
        return random.uniform(0, longest)  # noqa: S311  (no secret)

    async def _whole(self, request: httpx2.Request) -> httpx2.Response:
        """Read the whole answer, so that an answer which breaks off is retried like a missing one."""
        response = await self._inner.handle_async_request(request)
        try:
            if response.is_redirect:
                raise Redirected("the answer is at another address")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Compressed("the answer is compressed")
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            body = await _bounded(response.stream)
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.multi_items() if name != "transfer-encoding"]
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)


async def _bounded(stream: AsyncIterator[bytes] | httpx2.AsyncByteStream) -> bytes:
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ResponseTooLarge(f"the answer is over {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _retry_after(response: httpx2.Response) -> float:
    """Return the seconds of `Retry-After`, or 0 if it is missing or makes no sense."""
    text = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0
