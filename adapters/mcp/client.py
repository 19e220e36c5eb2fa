"""The door for threads: calls run on one event loop, in a thread of its own, over sessions that are shared."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from adapters.mcp.framing import Exchange
from adapters.mcp.http import SessionGone
from adapters.mcp.outcome import CallResult, Lost, NotSent, TimedOut, ToolInfo, Unavailable
from adapters.mcp.session import McpSession, Progress
from adapters.mcp.source import resolved
from adapters.process.event_loop_thread import EventLoopThread, Stopped
from domain.manifests.definition import ToolSource
from domain.manifests.host_access import HostRules

log = logging.getLogger(__name__)

# Each may be a process and two pipes. More are opened only while all of these have calls in flight.
MAX_SESSIONS = 32
IDLE_SECONDS = 300.0
_LOOK_EVERY = 10.0
# Longer than a stdio server is given to leave.
_CLOSE_SECONDS = 10.0

T = TypeVar("T")


class ToolClient:
    """Safe to share between the threads of a process; not across a fork.

    Attributes:
        loop: starts with the first call. Others who wait for the network may use it too, until `close`.
    """

    def __init__(
        self, idle_seconds: float = IDLE_SECONDS, max_sessions: int = MAX_SESSIONS, rules: HostRules | None = None
    ) -> None:
        self._rules = rules or HostRules()
        self._idle_seconds = idle_seconds
        self._max_sessions = max_sessions
        self.loop = EventLoopThread("network")
        self._watching: asyncio.Task[None] | None = None
        # The loop's own. In the order of their last use.
        self._sessions: dict[str, McpSession] = {}
        self._alive: set[McpSession] = set()  # with those that take no more calls, but are not gone

    def call(
        self,
        source: ToolSource,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        meta: Mapping[str, Any],
        idempotency_key: str,
        timeout: float,
        ours: Callable[[], bool] | None = None,
        progress: Progress | None = None,
    ) -> CallResult:
        """Call the tool once, opening a session first if there is none.

        The key goes along in `_meta` as `sagahold/idempotency-key`, and as the argument `idempotency_key` when the
        tool's schema has one and `arguments` does not give it. `meta` goes along as it is (`traceparent`, …).

        Args:
            timeout: seconds for everything: to open the session, to list its tools and to call.
            ours: asked immediately before the call is written, each time that it is; False: it is not. In any thread.
            progress: told how far the call has come, on the loop.

        Raises `NotSent` (`NotConfigured`, `Unavailable`, `ToolNotFound`), `Answered` (`ToolFailed`, `BadOutput`) or
        `Unknown` (`TimedOut`, `Lost`). Their texts may be stored and shown to operators.
        """
        ready = resolved(source, self._rules)
        calls: list[Exchange] = []

        async def call(session: McpSession) -> CallResult:
            calls.append(Exchange(call=True, ours=ours))
            return await session.call(tool, arguments, meta, idempotency_key, calls[-1], progress)

        try:
            return self._run(self._with_session(ready, call), timeout)
        except TimeoutError:
            sent = [exchange.give_up() for exchange in calls]
            if any(sent):
                raise TimedOut(f"the tool {tool!r} gave no answer within {timeout:g} s") from None
            raise Unavailable(f"tool source {source.name!r} was not ready within {timeout:g} s") from None

    def tools(self, source: ToolSource, timeout: float) -> tuple[ToolInfo, ...]:
        """The server's tools, from the session's memory if it has them. Raises `NotSent`."""
        ready = resolved(source, self._rules)
        # Without a way to the loop and back, which costs a third of a call.
        session = self._sessions.get(_key(ready))
        if session is not None and not session.over and session.known_tools is not None:
            return session.known_tools
        try:
            return self._run(self._with_session(ready, McpSession.tools), timeout)
        except TimeoutError:
            raise Unavailable(f"tool source {source.name!r} did not list its tools within {timeout:g} s") from None

    async def atools(self, source: ToolSource) -> tuple[ToolInfo, ...]:
        """The same, on the loop."""
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
    ) -> CallResult:
        """`call`, on the loop and without a deadline: cancelling ends it, and then nobody knows what it did."""

        async def call(session: McpSession) -> CallResult:
            exchange = Exchange(call=True, ours=ours)
            return await session.call(tool, arguments, meta, idempotency_key, exchange, progress)

        return await self._with_session(resolved(source, self._rules), call)

    def missing(self, sources: Sequence[ToolSource], tool: str) -> str:
        """Why none of these sources has the tool, as far as is known after their tools were listed."""
        text = f"none of {', '.join(source.name for source in sources) or 'no tool source'} has a tool {tool!r}"
        for source in sources:
            session = self._sessions.get(_key(resolved(source, self._rules)))
            if session is not None and (why := session.why_missing(tool)) is not None:
                text += f": {source.name} lists it, but it cannot be used: {why}"
        return text

    async def aread_resource(self, source: ToolSource, uri: str) -> str:
        """The resource's text, on the loop. Raises `NotSent`, `Answered` or `Unknown`, as `call` does."""
        return await self._with_session(
            resolved(source, self._rules), lambda session: session.read_resource(uri, Exchange())
        )

    def close(self) -> None:
        """End all sessions and their processes; calls in flight are lost. No call can be made after."""
        self.loop.stop(self._close_all(), _CLOSE_SECONDS)

    def _run(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Raises `TimeoutError`."""
        try:
            return self.loop.run(work, seconds)
        except Stopped:
            raise Unavailable("the worker is shutting down") from None

    async def _with_session(self, source: ToolSource, use: Callable[[McpSession], Awaitable[T]]) -> T:
        lost: SessionGone | None = None  # a call that was sent in it
        again = True
        while True:
            try:
                return await use(self._session(source))
            except SessionGone as gone:
                if lost is None and (gone.sent or again):
                    # Not looked at by the server, most likely as it was restarted: once more, in a new session.
                    again = again and gone.sent
                    lost = gone if gone.sent else None
                    continue
                failed: NotSent = gone
            except NotSent as error:
                failed = error
            if lost is None:
                raise failed
            # It is repeated once in all: what says twice that it was not looked at is not believed any more.
            raise Lost(f"{lost}; once more, in a new one: {failed}")

    def _session(self, source: ToolSource) -> McpSession:
        """The open one, or a new one that is being opened. Nothing is awaited, so that many ask and one is made."""
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
        """Close such sessions, the longest unused first, until `keep` are left."""
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


def _key(source: ToolSource) -> str:
    return json.dumps(asdict(source), sort_keys=True)
