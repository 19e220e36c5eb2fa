"""The clients: `Client` blocks, `AsyncClient` awaits. They differ only in how they send and sleep."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from types import EllipsisType, TracebackType
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import httpx

from sagahold import protocol
from sagahold.events import ENDED, Event, EventReader
from sagahold.pauses import ExecutionStatus, Pause
from sagahold.protocol import Answer, Budget, Call, Flow, Seconds, Sleep

T = TypeVar("T")


class Fake(Protocol):
    """A stand-in for the server, such as `sagahold.testing.FakeApprover`."""

    def answer(self, call: Call) -> Answer: ...


# While a fake is active, every client talks to it, and no client sleeps.
active_fakes: list[Fake] = []


class _Api:
    def __init__(self, url: str | None = None, api_key: str | None = None, *, retry_for: float = 60.0) -> None:
        """Make a client.

        Args:
            url: the server's address. The default is SAGAHOLD_URL.
            api_key: a key of role agent. The default is SAGAHOLD_API_KEY.
            retry_for: the seconds after which a server that does not answer raises `NotReachable`. `wait` goes on.
        """
        self.url = (url or os.environ.get("SAGAHOLD_URL", "")).rstrip("/")
        api_key = (api_key or os.environ.get("SAGAHOLD_API_KEY", "")).strip()
        if not active_fakes and not _is_address(self.url):
            raise ValueError("set SAGAHOLD_URL, or pass url: the address of Sagahold, such as http://127.0.0.1:8000")
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("SAGAHOLD_API_KEY or api_key has characters that no key has: copy it again")
        self.retry_for = retry_for
        self._headers = {"User-Agent": "sagahold-python"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})

    def _budget(self) -> Budget:
        return Budget(self.retry_for)

    def _options(self, call: Call) -> dict[str, Any]:
        headers = {**self._headers, **call.headers}
        call_options = {"params": dict(call.params), "content": call.body, "timeout": call.timeout}
        return {"method": call.method, "url": self.url + call.path, "headers": headers, **call_options}


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def _answered(response: httpx.Response, began: float) -> Answer:
    return Answer(response.status_code, response.content, response.headers, time.monotonic() - began)


def _unanswered(error: httpx.HTTPError, began: float) -> Answer:
    # A body that cannot be decoded is an answer, though not a usable one.
    status = 0 if isinstance(error, httpx.TransportError) else 200
    return Answer(status, f"{type(error).__name__}: {error}".encode(), {}, time.monotonic() - began)


class Client(_Api):
    """A blocking client, safe to share between threads."""

    def __init__(self, url: str | None = None, api_key: str | None = None, *, retry_for: float = 60.0) -> None:
        super().__init__(url, api_key, retry_for=retry_for)
        self._http = httpx.Client(follow_redirects=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """Carry out the steps of an operation of `sagahold.protocol`."""
        answer = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = self._sleep(step) if isinstance(step, Sleep) else self._send(step)

    def _sleep(self, step: Sleep) -> Answer | None:
        if not active_fakes:
            time.sleep(step.seconds)
        return None

    def _send(self, call: Call) -> Answer:
        if active_fakes:
            return active_fakes[-1].answer(call)
        began = time.monotonic()
        try:
            return _answered(self._http.request(**self._options(call)), began)
        except httpx.HTTPError as error:
            return _unanswered(error, began)

    def request(
        self,
        action: str,
        *,
        arguments: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        review: Mapping[str, Any] | None = None,
        expires_in: Seconds | EllipsisType | None = ...,
        valid_for: Seconds | EllipsisType | None = ...,
        key: str | None = None,
        **fields: Any,
    ) -> Pause:
        """Ask for a decision, and return the pause at once.

        Args:
            arguments: exactly what will be executed. A reviewer may edit them.
            expires_in: the seconds that a decision may take; None is without limit, `...` the server's default.
            valid_for: the seconds after an approval in which `consume` must come.
            key: the Idempotency-Key, 8 to 128 characters. The same key and request give the same pause.
            fields: other fields of `POST /api/pause`, by their names in the API, such as `onTimeout="reject"`.
        """
        body = protocol.draft(action, arguments, context, review, expires_in, valid_for, fields)
        return self.run(protocol.request(body, key or uuid4().hex, self._budget()))

    def get(self, pause: Pause | str) -> Pause:
        return self.run(protocol.get(pause, self._budget()))

    def wait(self, pause: Pause | str, timeout: float | None = None) -> Pause:
        """Wait until the pause is decided, also while the server is away. Raise `StillPending` after the timeout."""
        return self.run(protocol.wait(pause, Budget(timeout)))

    def consume(self, pause: Pause) -> Pause:
        """Use the approval, directly before the action runs. Raise an error if it cannot be used (any more)."""
        return self.run(protocol.consume(pause, self._budget()))

    def outcome(
        self, pause: Pause | str, status: ExecutionStatus, note: str | None = None, result: Any = None
    ) -> Pause:
        """Report what happened after `consume`. The first report is final."""
        return self.run(protocol.outcome(pause, status, note, result, self._budget()))

    def cancel(self, pause: Pause | str, comment: str | None = None) -> Pause:
        """Take the request back. Raise `RequestError` if it is decided already."""
        return self.run(protocol.cancel(pause, comment, self._budget()))

    def list(self, **filters: Any) -> Iterator[Pause]:
        """Yield this agent's pauses, the newest first: `list(status="approved", consumed=False)`."""
        cursor: str | None = None
        while True:
            found, cursor = self.run(protocol.page({**filters, "cursor": cursor}, self._budget()))
            yield from found
            if cursor is None:
                return

    def events(self, pause: Pause | str) -> Iterator[Event]:
        """Yield the events of the pause until it is decided, through any outage of the server."""
        reader = EventReader(pause)
        while not reader.done:
            began = time.monotonic()
            try:
                with self._http.stream(**self._options(reader.connect())) as response:
                    if reader.accepts(response.status_code, response.headers):
                        for chunk in response.iter_bytes():
                            yield from reader.feed(chunk)
                        answer = ENDED
                    else:
                        response.read()
                        answer = _answered(response, began)
            except httpx.HTTPError as error:
                answer = _unanswered(error, began)
            if not reader.done:
                self._sleep(Sleep(reader.delay(answer)))


class AsyncClient(_Api):
    """The asynchronous client. Its methods are those of `Client`."""

    def __init__(self, url: str | None = None, api_key: str | None = None, *, retry_for: float = 60.0) -> None:
        super().__init__(url, api_key, retry_for=retry_for)
        self._http = httpx.AsyncClient(follow_redirects=False)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        answer = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = await (self._sleep(step) if isinstance(step, Sleep) else self._send(step))

    async def _sleep(self, step: Sleep) -> Answer | None:
        await asyncio.sleep(0 if active_fakes else step.seconds)
        return None

    async def _send(self, call: Call) -> Answer:
        if active_fakes:
            return active_fakes[-1].answer(call)
        began = time.monotonic()
        try:
            return _answered(await self._http.request(**self._options(call)), began)
        except httpx.HTTPError as error:
            return _unanswered(error, began)

    async def request(
        self,
        action: str,
        *,
        arguments: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        review: Mapping[str, Any] | None = None,
        expires_in: Seconds | EllipsisType | None = ...,
        valid_for: Seconds | EllipsisType | None = ...,
        key: str | None = None,
        **fields: Any,
    ) -> Pause:
        body = protocol.draft(action, arguments, context, review, expires_in, valid_for, fields)
        return await self.run(protocol.request(body, key or uuid4().hex, self._budget()))

    async def get(self, pause: Pause | str) -> Pause:
        return await self.run(protocol.get(pause, self._budget()))

    async def wait(self, pause: Pause | str, timeout: float | None = None) -> Pause:
        return await self.run(protocol.wait(pause, Budget(timeout)))

    async def consume(self, pause: Pause) -> Pause:
        return await self.run(protocol.consume(pause, self._budget()))

    async def outcome(
        self, pause: Pause | str, status: ExecutionStatus, note: str | None = None, result: Any = None
    ) -> Pause:
        return await self.run(protocol.outcome(pause, status, note, result, self._budget()))

    async def cancel(self, pause: Pause | str, comment: str | None = None) -> Pause:
        return await self.run(protocol.cancel(pause, comment, self._budget()))

    async def list(self, **filters: Any) -> AsyncIterator[Pause]:
        cursor: str | None = None
        while True:
            found, cursor = await self.run(protocol.page({**filters, "cursor": cursor}, self._budget()))
            for pause in found:
                yield pause
            if cursor is None:
                return

    async def events(self, pause: Pause | str) -> AsyncIterator[Event]:
        reader = EventReader(pause)
        while not reader.done:
            began = time.monotonic()
            try:
                async with self._http.stream(**self._options(reader.connect())) as response:
                    if reader.accepts(response.status_code, response.headers):
                        async for chunk in response.aiter_bytes():
                            for event in reader.feed(chunk):
                                yield event
                        answer = ENDED
                    else:
                        await response.aread()
                        answer = _answered(response, began)
            except httpx.HTTPError as error:
                answer = _unanswered(error, began)
            if not reader.done:
                await self._sleep(Sleep(reader.delay(answer)))
