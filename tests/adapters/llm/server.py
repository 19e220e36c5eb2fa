"""A real HTTP server that speaks a model provider's protocols and answers as a script says: rightly, wrongly or never.

In a test: `with LlmServer(submit({"n": 1})) as server: … server.url … server.asked[0].tools`.
By itself, for whole sagas and loads, answering each request with the least that fits its `_submit` tool:
`python -m tests.adapters.llm.server --port 0 --delay 0.2` prints the port it listens on.
"""

import argparse
import asyncio
import contextlib
import json
import threading
import time
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.adapters.llm.wire import (
    SUBMIT,
    After,
    Asked,
    Call,
    Cut,
    Empty,
    Garbage,
    Huge,
    Reply,
    Say,
    Slow,
    Status,
    Together,
    body,
    example,
    submit,
)

Script = Callable[[Asked], Reply]
_PATHS = ("/v1/chat/completions", "/v1/messages")
_MEGABYTE = 1024 * 1024


class Gone(Exception):
    """The client closed the connection."""


class BrokenOff(Exception):
    """We close it, as the script says."""


class Wire:
    """One connection. Reads ahead, so that it knows at any time whether the client is still there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self._arriving = asyncio.ensure_future(self._read())

    async def _read(self) -> bytes:
        with contextlib.suppress(OSError):
            return await self._reader.read(65_536)
        return b""

    async def _more(self) -> None:
        data = await self._arriving
        if not data:
            raise Gone
        self._rest += data
        self._arriving = asyncio.ensure_future(self._read())

    async def request(self) -> tuple[str, dict[str, str], bytes]:
        """Path, headers and body of the next one."""
        while b"\r\n\r\n" not in self._rest:
            await self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        length = int(headers.get("content-length", "0"))
        while len(self._rest) < length:
            await self._more()
        content, self._rest = self._rest[:length], self._rest[length:]
        return line.split()[1], headers, content

    async def wait(self, seconds: float) -> None:
        """Raises `Gone` as soon as the client is."""
        await asyncio.wait({self._arriving}, timeout=seconds)
        if self._arriving.done() and not self._arriving.result():
            raise Gone

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError:
            raise Gone from None

    def break_off(self) -> None:
        self._writer.transport.abort()


class LlmServer:
    """Answers one request after the other by `script`, whose last reply is given again and again.

    Attributes:
        asked: every request, in the order of their arrival.
    """

    def __init__(self, *script: Reply, by: Script | None = None, port: int = 0) -> None:
        self._replies = list(script)
        self._by = by
        self.asked: list[Asked] = []
        self.at_once = 0  # the most requests that were open at a time
        self._open = 0
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", port, backlog=256))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        """Looks again whenever a request came, was answered or left. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise TimeoutError(f"it did not come to pass within {seconds} s; {len(self.asked)} requests came")

    def wait_for(self, count: int, seconds: float = 90) -> list[Asked]:
        self.wait_until(lambda: len(self.asked) >= count, seconds)
        return list(self.asked)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        try:
            while True:
                path, headers, content = await wire.request()
                await self._answer(wire, Asked(path, headers, _parsed(content), time.monotonic()))
        except (Gone, BrokenOff, asyncio.CancelledError):
            pass
        finally:
            wire.break_off()

    async def _answer(self, wire: Wire, asked: Asked) -> None:
        with self._changed:
            self.asked.append(asked)
            number = len(self.asked)
            self._open += 1
            self.at_once = max(self.at_once, self._open)
            self._changed.notify_all()
        try:
            await self._play(wire, asked, self._reply(asked, number), number)
            asked.answered = True
        except Gone:
            asked.left = True
            raise
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _reply(self, asked: Asked, number: int) -> Reply:
        if asked.path not in _PATHS:
            return Status(404, words=f"no such path: {asked.path}")
        if self._by is not None:
            return self._by(asked)
        return self._replies[min(number, len(self._replies)) - 1]

    async def _play(self, wire: Wire, asked: Asked, reply: Reply, number: int) -> None:
        pause = 0.0
        if isinstance(reply, Together):
            while self.at_once < reply.count:
                await wire.wait(0.02)
            reply = reply.then
        if isinstance(reply, After):
            while not reply.said.is_set():
                await wire.wait(0.05)
            reply = reply.then
        if isinstance(reply, Slow):
            pause, within, reply = reply.seconds, reply.within_body, reply.then
            if not within:
                await wire.wait(pause)
                pause = 0.0
        if isinstance(reply, Huge):
            await self._flood(wire, asked, reply, number)
            return
        status = reply if isinstance(reply, Status) else Status(200)
        content = _content(asked, reply, number)
        answer = _head(status, f"content-length: {len(content)}") + content
        half = 0 if reply == Cut(at_once=True) else len(answer) - len(content) // 2
        await self._send(wire, asked, answer[:half])
        if isinstance(reply, Cut):
            raise BrokenOff
        if pause:
            await wire.wait(pause)
        await self._send(wire, asked, answer[half:])

    async def _flood(self, wire: Wire, asked: Asked, reply: Huge, number: int) -> None:
        """A good answer with many words, in chunks and without saying how many will come."""
        before, after = _content(asked, Say("@@"), number).split(b"@@")
        packer = zlib.compressobj(wbits=31)
        extra = ("content-encoding: gzip",) if reply.packed else ()
        await self._send(wire, asked, _head(Status(200), "transfer-encoding: chunked", *extra))
        for part in (before, *[b"x" * _MEGABYTE] * reply.megabytes, after, b""):
            if reply.packed:
                part = packer.compress(part) if part else packer.flush()
            if part:
                await self._send(wire, asked, b"%x\r\n%b\r\n" % (len(part), part))
        await self._send(wire, asked, b"0\r\n\r\n")

    async def _send(self, wire: Wire, asked: Asked, data: bytes) -> None:
        await wire.send(data)
        asked.sent += len(data)


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _content(asked: Asked, reply: Reply, number: int) -> bytes:
    if isinstance(reply, Garbage):
        return reply.body
    return json.dumps(body(asked, reply if isinstance(reply, Call | Status | Empty) else _said(reply), number)).encode()


def _said(reply: Reply) -> Say:
    return reply if isinstance(reply, Say) else Say("this will be cut")


def _head(status: Status, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status.code} Scripted", "content-type: application/json", *fields]
    if status.retry_after is not None:
        lines.append(f"retry-after: {status.retry_after}")
    if status.location is not None:
        lines.append(f"location: {status.location}")
    return "\r\n".join([*lines, "", ""]).encode()


def fitting(delay: float = 0.0) -> Script:
    """Always a submission that fits; words where there is nothing to submit."""

    def script(asked: Asked) -> Reply:
        schema = asked.tools.get(SUBMIT)
        reply = Say("nothing to submit") if schema is None else submit(example(schema))
        return Slow(delay, reply) if delay else reply

    return script


def main() -> None:
    parser = argparse.ArgumentParser(description="A model provider that answers what the schema asks for.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    with LlmServer(by=fitting(options.delay), port=options.port) as server, contextlib.suppress(KeyboardInterrupt):
        print(server.port, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
