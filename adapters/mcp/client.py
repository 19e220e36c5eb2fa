"""Calls of tools. They wait on one event loop, in its own thread, over shared sessions, and hold no other thread."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any, TypeVar

import anyio

from adapters.mcp.call import Call
from adapters.mcp.framing import Exchange
from adapters.mcp.http import SessionGone, tls_context
from adapters.mcp.outcome import CallError, ToolInfo, tool_not_found, unavailable
from adapters.mcp.session import McpSession, Progress
from adapters.mcp.source import resolved
from adapters.process.event_loop_thread import EventLoopThread, Stopped
from domain.manifests.definition import ToolSource
from domain.manifests.host_access import HostRules
from domain.sagas.outcome import Done, Failed, NotSent, Outcome, ToolFound

log = logging.getLogger(__name__)

# Each may be a process and two pipes. More are opened only while all of these have calls in flight.
MAX_SESSIONS = 32
IDLE_SECONDS = 300.0
_LOOK_EVERY = 10.0
# Longer than a stdio server has for its exit.
_CLOSE_SECONDS = 10.0

T = TypeVar("T")


class ToolClient:
    """A client that the threads of a process may share. A forked child needs its own.

    Attributes:
        loop: starts with `prepare`, or the first call. Other network work may run on it too, until `close`.
    """

    def __init__(
        self, idle_seconds: float = IDLE_SECONDS, max_sessions: int = MAX_SESSIONS, rules: HostRules | None = None
    ) -> None:
        self._rules = rules or HostRules()
        self._idle_seconds = idle_seconds
        self._max_sessions = max_sessions
        self.loop = EventLoopThread("network")
        self._watching: asyncio.Task[None] | None = None
        # Both belong to the loop. The first is in the order of last use.
        self._sessions: dict[str, McpSession] = {}
        self._alive: set[McpSession] = set()  # includes sessions that take no more calls, but still run

    def prepare(self) -> None:
        """Start the loop, and load what the first session needs."""
        tls_context()
        self.loop.submit(_load_anyio()).result()

    def call(
        self,
        sources: Sequence[ToolSource],
        tool: str,
        arguments: Mapping[str, Any],
        *,
        meta: Mapping[str, Any],
        idempotency_key: str,
        timeout: float,
        idempotent: bool | None = None,
        again: bool = False,
        may_be_null: Collection[str] | None = None,
        ours: Callable[[], bool] | None = None,
        progress: Progress | None = None,
    ) -> "Future[Outcome]":
        """Begin to call the tool once, in the first source that has it. Sessions are opened as needed.

        `_meta` carries the key as `sagahold/idempotency-key`. If the tool's schema has an argument `idempotency_key`
        that `arguments` does not give, it carries the key too. `meta` is sent as it is (`traceparent`, …).

        Args:
            timeout: seconds to open the session, to list its tools and to call, in all.

        The others are those of `Call`.
        """
        call = Call(tool, arguments, meta, idempotency_key, idempotent, again, may_be_null, ours, progress)

        async def make() -> Outcome:
            try:
                async with asyncio.timeout(timeout):
                    return await self._call(sources, call)
            except TimeoutError:
                return call.timed_out(timeout)
            except Exception as error:
                log.exception("a tool call broke off", extra={"idempotency_key": idempotency_key})
                return call.broke_off(error)

        return self._begin(make())

    def look_up(
        self, sources: Sequence[ToolSource], tool: str, timeout: float
    ) -> "Future[ToolFound | Failed | NotSent]":
        """Begin to look up the tool in the first source that has it. A missing tool, or a source that is not
        configured, fails for good; a server that is away may return. Nothing is called."""

        async def find() -> ToolFound | Failed | NotSent:
            try:
                async with asyncio.timeout(timeout):
                    return await self._look_up(sources, tool)
            except CallError as error:
                # A request for the list of tools calls nothing, so its outcome is never unknown.
                return error.outcome if isinstance(error.outcome, Failed | NotSent) else unavailable(str(error))
            except TimeoutError:
                return unavailable(
                    f"the tool {tool!r} was not found within {timeout:g} s: a tool source did not answer"
                )
            except Exception as error:
                log.exception("a tool could not be looked up", extra={"tool": tool})
                return unavailable(f"internal error, see the worker's log: {type(error).__name__}")

        return self._begin(find())

    async def tools(self, source: ToolSource) -> tuple[ToolInfo, ...]:
        """Return the server's tools, on the loop. The session remembers them. Raises `CallError`."""
        return await self._with_session(resolved(source, self._rules), McpSession.tools)

    async def acall(
        self,
        source: ToolSource,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        meta: Mapping[str, Any],
        idempotency_key: str,
        ours: Callable[[], bool] | None = None,
        progress: Progress | None = None,
    ) -> Outcome:
        """Make a `call` on the loop, without a deadline. After a cancellation its outcome is unknown."""
        call = Call(tool, arguments, meta, idempotency_key, ours=ours, progress=progress)
        return await self._call((source,), call)

    async def read_resource(self, source: ToolSource, uri: str) -> Outcome:
        """Read the resource's text, on the loop."""
        try:
            ready = resolved(source, self._rules)
            return Done(await self._with_session(ready, lambda session: session.read_resource(uri, Exchange())))
        except CallError as error:
            return error.outcome

    def missing(self, sources: Sequence[ToolSource], tool: str) -> str:
        """Say why none of these sources has the tool, as far as is known after their tools were listed."""
        text = f"none of {', '.join(source.name for source in sources) or 'no tool source'} has a tool {tool!r}"
        for source in sources:
            session = self._sessions.get(_key(resolved(source, self._rules)))
            if session is not None and (why := session.why_missing(tool)) is not None:
                text += f"; {source.name} lists it, but it cannot be used: {why}"
        return text

    def close(self) -> None:
        """End all sessions and their processes; the outcomes of calls in flight are lost. It ends the client."""
        self.loop.stop(self._close_all(), _CLOSE_SECONDS)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        try:
            return self.loop.submit(work)
        except Stopped:
            ended: Future[Any] = Future()
            ended.set_result(unavailable("the worker is shutting down"))
            return ended

    async def _call(self, sources: Sequence[ToolSource], call: Call) -> Outcome:
        try:
            return await self._use_tool(sources, call.tool, call.make)
        except CallError as error:
            return call.error(error)

    async def _look_up(self, sources: Sequence[ToolSource], tool: str) -> ToolFound:
        async def describe(_: McpSession, info: ToolInfo) -> ToolFound:
            return ToolFound(dict(info.input_schema))

        return await self._use_tool(sources, tool, describe)

    async def _use_tool(
        self, sources: Sequence[ToolSource], tool: str, use: Callable[[McpSession, ToolInfo], Awaitable[T]]
    ) -> T:
        """Use the tool in the first source that has it. Raises `CallError`, also when a source before that one is
        away: a tool of the same name in a later source is not the approved one."""

        async def find_and_use(session: McpSession) -> T | None:
            info = await session.find(tool)
            return None if info is None else await use(session, info)

        for source in sources:
            found = await self._with_session(resolved(source, self._rules), find_and_use)
            if found is not None:
                return found
        raise tool_not_found(self.missing(sources, tool))

    async def _with_session(self, source: ToolSource, use: Callable[[McpSession], Awaitable[T]]) -> T:
        lost: SessionGone | None = None  # in it, a call was sent
        again = True
        while True:
            try:
                return await use(self._session(source))
            except SessionGone as gone:
                if lost is None and (gone.sent or again):
                    # Most likely the server was restarted, and did not look at it. Repeat it in a new session.
                    again = again and gone.sent
                    lost = gone if gone.sent else None
                    continue
                failed: CallError = gone
            except CallError as error:
                if not error.not_sent:
                    raise
                failed = error
            if lost is None:
                raise failed
            # It is repeated once in all. A server that says twice that it did not look at it is not believed.
            raise CallError.lost(f"{lost}; once more, in a new one: {failed}")

    def _session(self, source: ToolSource) -> McpSession:
        """Return the open session, or begin to open one. It awaits nothing, so that many callers share one session."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        key = _key(source)
        session = self._sessions.pop(key, None)
        if session is None or session.over:
            session = McpSession(source, self._alive.discard)
            self._alive.add(session)
        self._sessions[key] = session
        if len(self._sessions) > self._max_sessions:
            self._drop(lambda other: other.over or (other is not session and not other.busy), self._max_sessions)
        return session

    def _drop(self, which: Callable[[McpSession], bool], keep: int = 0) -> None:
        """Close the sessions that `which` selects, the longest unused first, until `keep` are left."""
        for key, session in list(self._sessions.items()):
            if len(self._sessions) > keep and which(session):
                del self._sessions[key]
                session.retire()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_EVERY, self._idle_seconds))
            self._drop(lambda session: session.over or (not session.busy and session.idle_seconds > self._idle_seconds))

    async def _close_all(self) -> None:
        self._sessions.clear()
        await asyncio.gather(*(session.close() for session in list(self._alive)))


async def _load_anyio() -> None:
    """Use it once, because it imports its backend and its streams at their first use."""
    sender, receiver = anyio.create_memory_object_stream[None]()
    with sender, receiver:
        await anyio.sleep(0)


def _key(source: ToolSource) -> str:
    return json.dumps(asdict(source), sort_keys=True)
