"""An MCP server as a child process, with messages over its stdin and stdout.

The SDK's own client reads lines of any length, in quadratic time. When a server exits in time, it leaves the server's
children behind.
"""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from adapters.mcp.confined import confinement
from adapters.mcp.framing import LineSplitter
from adapters.mcp.rpc import tidied as tidied_message
from domain.manifests.definition import ToolSource
from domain.manifests.host_access import PLAIN

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

log = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024
# The time for a server to exit by itself after its stdin was closed.
_EXIT_SECONDS = 2.0
# The time to read the pipes of a server that has exited.
_DRAIN_SECONDS = 0.5
_SAYS = "an MCP server says: %s"
# Limits of our log for a server's output other than messages.
_LOG_LINE_BYTES = 1000
_LOG_LINES_PER_MINUTE = 200

# Made once, as it holds a descriptor.
_confinement = functools.cache(confinement)


@asynccontextmanager
async def stdio_streams(source: ToolSource) -> "AsyncIterator[TransportStreams]":
    """Start the server and yield its streams. Its process group is gone at the end. Raises `OSError`."""
    # The worker's other variables hold its secrets.
    environment = {name: os.environ[name] for name in PLAIN if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        source.command or "",
        *source.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=source.cwd,
        env=environment | dict(source.env),
        start_new_session=True,
        preexec_fn=_confinement(),
    )
    incoming, reader = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    tasks = [
        asyncio.create_task(_Reading(source.name, process, incoming).run()),
        asyncio.create_task(_log_stderr(source.name, process)),
    ]
    try:
        yield reader, _Stdin(process)
    finally:
        try:
            await _stop(process, tasks)
        finally:
            for task in tasks:
                task.cancel()
            incoming.close()
            reader.close()


class _Stdin:
    """The write stream, which sends whole messages, one after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        self._pid = process.pid
        self._pipe = process.stdin

    async def send(self, item: SessionMessage, /) -> None:
        # The kernel knows of an exit before the loop does. A message to a server that has exited was never sent.
        if self._pipe.is_closing() or _has_ended(self._pid):
            raise anyio.ClosedResourceError
        # One synchronous write stays whole, even if its caller is cancelled.
        self._pipe.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        try:
            await self._pipe.drain()
        except OSError:
            raise anyio.BrokenResourceError from None

    async def aclose(self) -> None:
        self._pipe.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class _Reading:
    """The reader of the server's stdout for the session. It closes the stream when the server is gone."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        incoming: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        assert process.stdout is not None
        self._name = name
        self._stdout = process.stdout
        self._incoming = incoming
        self._noise = _ServerLog(name)

    async def run(self) -> None:
        lines = LineSplitter(noise=True)
        try:
            while chunk := await self._stdout.read(_CHUNK_BYTES):
                for line in lines.feed(chunk):
                    await self._deliver(line)
            await self._deliver(lines.last())
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the session or the server ended
        finally:
            self._incoming.close()

    async def _deliver(self, line: bytes) -> None:
        if not line.strip():
            return
        # A program's output without an end of line may precede the message.
        found = max(0, line.find(b'{"jsonrpc"'))
        tidied = tidied_message(line[found:])
        try:
            if tidied is None:
                raise ValueError
            message = mcp_types.jsonrpc_message_adapter.validate_json(tidied, by_name=False)
        except ValueError:
            # Most likely it is the server's log. If it was an answer, the call ends at its deadline.
            self._noise.log("an MCP server must log to stderr, not to stdout: %s", line)
            return
        await self._incoming.send(SessionMessage(message))


class _ServerLog:
    """A server's output in our log, limited in the length and the number of lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._minute = self._count = 0

    def log(self, text: str, line: bytes) -> None:
        if self._minute != (now := int(time.monotonic() / 60)):
            self._minute, self._count = now, 0
        self._count += 1
        if self._count <= _LOG_LINES_PER_MINUTE and line.strip():
            said = line[:_LOG_LINE_BYTES].decode("utf-8", "replace").rstrip()
            log.info(text, said, extra={"tool_source": self._name})


async def _log_stderr(name: str, process: asyncio.subprocess.Process) -> None:
    """Log the server's stderr. The pipe is always emptied, so that the server does not block."""
    assert process.stderr is not None
    said, rest = _ServerLog(name), b""
    try:
        while chunk := await process.stderr.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:_LOG_LINE_BYTES]
            for line in lines:
                said.log(_SAYS, line)
    finally:
        said.log(_SAYS, rest)


async def _stop(process: asyncio.subprocess.Process, readers: Sequence[asyncio.Task[None]]) -> None:
    """Close stdin, which asks the server to exit; then kill its whole process group in any case.

    A cancellation shortens only the wait. `readers`: of its pipes, which may still hold output.
    """
    assert process.stdin is not None
    process.stdin.close()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await _ended(process)
    finally:
        # The group has the server's id, and keeps it after the server's exit as long as it has a child.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            await _ended(process)
            await asyncio.wait(readers, timeout=_DRAIN_SECONDS)
        finally:
            # A pipe that a daemonised child holds open would never end.
            process._transport.close()  # type: ignore[attr-defined]


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for the exit. `wait()` also waits for the pipes, which children may keep open."""
    while process.returncode is None:
        await asyncio.sleep(0.01)
