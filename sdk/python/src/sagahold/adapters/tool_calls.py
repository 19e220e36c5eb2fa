"""The common part of the adapters: a pause for each tool call that a framework holds, its decision, use and report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from types import EllipsisType
from typing import Any, TypeVar

from sagahold import canonical_json, protocol
from sagahold.client import AsyncClient, Client
from sagahold.errors import (
    AlreadyUsed,
    ArgumentsChanged,
    NotApproved,
    SagaholdError,
    StillPending,
)
from sagahold.pauses import ExecutionStatus, Pause
from sagahold.protocol import LONG_POLL, Budget, Flow, Seconds

T = TypeVar("T")
MAX_TEXT = 500
# The seconds for the report of an interrupted run.
HURRY = 5.0


@dataclass(frozen=True)
class Options:
    """How to ask.

    Attributes:
        review: the approval policy. The default is the namespace's.
        valid_for: the seconds after an approval in which the agent must resume; None is without limit.
        expires_in: the seconds that a decision may take; None is without limit, `...` the server's default.
        action: returns what the reviewer reads, for the tool's name and the arguments.
    """

    review: Mapping[str, Any] | None = None
    valid_for: Seconds | None = 900
    expires_in: Seconds | EllipsisType | None = ...
    action: Callable[[str, dict[str, Any]], str] = lambda tool, _: f"Run the tool {tool}"


DEFAULTS = Options()


@dataclass(frozen=True)
class ToolCall:
    """A tool call that waits for approval.

    Attributes:
        place: the name of the call in its thread, the same in each process that loads the thread.
        call_id: the model's id of the call, under which its result is found; None if there is none.
    """

    thread: str
    place: str
    tool: str
    arguments: dict[str, Any]
    call_id: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer for the framework: the arguments to run, or None and the reason for the model."""

    pause: Pause
    arguments: dict[str, Any] | None
    reason: str = ""

    @property
    def edited(self) -> bool:
        return not canonical_json.equal(self.arguments, self.pause.posted_arguments)


@dataclass(frozen=True)
class Door:
    """The pauses that come from one framework. `package` is its distribution."""

    name: str
    package: str

    def key(self, thread: str, place: str) -> str:
        return f"{self.name}-{canonical_json.digest([thread, place])}"

    def ask(self, calls: Sequence[ToolCall], options: Options, budget: Budget) -> Flow[list[Pause]]:
        """Return the pause of each call. Ask for those that have none."""
        bodies = [self._body(call, options) for call in calls]
        pauses = []
        for call, body in zip(calls, bodies, strict=True):
            pause = yield from self.find(call.thread, call.place, budget)
            if pause is None:
                pause = yield from protocol.request(body, self.key(call.thread, call.place), budget)
            pauses.append(_checked(pause, call))
        return pauses

    def find(self, thread: str, place: str, budget: Budget) -> Flow[Pause | None]:
        # The server forgets an Idempotency-Key a day after the decision; the name stays.
        found, _ = yield from protocol.page({"externalId": self.key(thread, place), "limit": 1}, budget)
        return found[0] if found else None

    def pauses(self, calls: Sequence[ToolCall], budget: Budget) -> Flow[list[Pause]]:
        """Return the pause of each call. Raise an error if there is none, or if it is for another call."""
        found = []
        for call in calls:
            pause = yield from self.find(call.thread, call.place, budget)
            if pause is None:
                raise SagaholdError(f"no approval was requested for the tool {call.tool}: call request_approvals first")
            found.append(_checked(pause, call))
        return found

    def _body(self, call: ToolCall, options: Options) -> dict[str, Any]:
        client = {
            "framework": self.package,
            "version": version(self.package),
            "tool": call.tool,
            "thread": call.thread,
            **({} if call.call_id is None else {"call": call.call_id}),
        }
        fields = {
            "externalId": self.key(call.thread, call.place),
            "metadata": {"door": self.name, "client": {name: _short(text) for name, text in client.items()}},
        }
        arguments = canonical_json.snapshot(call.arguments, f"arguments of {call.tool}")
        context = {"description": call.description} if call.description else None
        action = _short(options.action(call.tool, canonical_json.snapshot(arguments, "")))
        return protocol.draft(action, arguments, context, options.review, options.expires_in, options.valid_for, fields)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _checked(pause: Pause, call: ToolCall) -> Pause:
    """Return the pause if it was requested for this tool and these arguments."""
    tool = client_facts(pause).get("tool")
    if tool != _short(call.tool) or not canonical_json.equal(pause.posted_arguments, call.arguments):
        raise ArgumentsChanged(
            f"the saved state of thread {call.thread} has another call than the one that was requested, "
            f"{tool} of {pause.review_url}: the state was changed. Nothing runs. Start a new thread.",
            pause,
        )
    return pause


def client_facts(pause: Pause) -> Mapping[str, Any]:
    """Return what the adapter told the server about the call."""
    facts = (pause.document.get("metadata") or {}).get("client")
    return facts if isinstance(facts, dict) else {}


def decided(groups: Sequence[Sequence[Pause]], budget: Budget) -> Flow[tuple[int, list[Pause]]]:
    """Wait until each pause of one group is decided. Return that group's index and pauses."""
    while True:
        waiting = []
        for index, group in enumerate(groups):
            fresh = []
            for pause in group:
                fresh.append((yield from protocol.get(pause, Budget(None))))
            pending = [pause for pause in fresh if pause.status == "pending"]
            if not pending:
                return index, fresh
            waiting += pending
        # One long poll watches one pause, so look at the others once in a while.
        seconds = float(LONG_POLL) if len(waiting) > 1 else None
        if budget.left is not None:
            seconds = budget.left if seconds is None else min(seconds, budget.left)
        turn = Budget(seconds)
        try:
            yield from protocol.wait(waiting[0], turn)
        except StillPending:
            if budget.left is not None and seconds == budget.left:
                raise
        finally:
            budget.spend(0.0 if seconds is None or turn.left is None else seconds - turn.left)


def use(pauses: Sequence[Pause], editable: Sequence[bool]) -> Flow[list[Verdict]]:
    """Use each approval, and return what may run. An approval that was used before never runs again.

    `editable` says of each call whether the framework can run other arguments than those of the call.
    """
    verdicts = []
    for pause, may_change in zip(pauses, editable, strict=True):
        if pause.approved and not may_change and pause.consumed_at is None and (changed := _edit(pause)) is not None:
            verdicts.append(Verdict(pause, None, changed))
            continue
        try:
            # An answer that is lost would leave an approval that is used up, although nothing has run.
            used = yield from protocol.consume(pause, Budget(None))
        except (NotApproved, AlreadyUsed) as error:
            verdicts.append(Verdict(pause, None, str(error)))
        else:
            verdicts.append(Verdict(used, (used.decision and used.decision.arguments) or {}))
    return verdicts


def _edit(pause: Pause) -> str | None:
    """Return the message for the model if the reviewer has changed the arguments."""
    approved = pause.decision.arguments if pause.decision else None
    if canonical_json.equal(approved, pause.posted_arguments):
        return None
    return (
        f"“{pause.action}” did not run, because the reviewer has approved other arguments: "
        f"{canonical_json.dumps(approved)}. To run them, call the tool again with exactly these. See {pause.review_url}"
    )


Outcome = tuple[ExecutionStatus, str | None]


def report(outcomes: Sequence[tuple[Pause, Outcome]], retry_for: float) -> Flow[None]:
    for pause, (status, note) in outcomes:
        yield from protocol.report(pause, status, note, Budget(retry_for))


@dataclass(frozen=True)
class Do:
    """A call into the framework, for a blocking and for an asynchronous program."""

    blocking: Callable[[], Any]
    asynchronous: Callable[[], Awaitable[Any]]


# The steps of an adapter: requests to the server, and calls into the framework. It is made for a client's `retry_for`.
Program = Generator[Flow[Any] | Do, Any, T]


def run(make: Callable[[float], Program[T]], client: Client | None) -> T:
    """Run the program with the client, or with one for SAGAHOLD_URL and SAGAHOLD_API_KEY."""
    with Client() if client is None else nullcontext(client) as api:
        program = make(api.retry_for)
        go: Callable[[Any], Flow[Any] | Do] = program.send
        value: Any = None
        while True:
            try:
                step = go(value)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                value, go = (step.blocking() if isinstance(step, Do) else api.run(step)), program.send
            except BaseException as error:
                value, go = error, program.throw


async def arun(make: Callable[[float], Program[T]], client: AsyncClient | None) -> T:
    async with AsyncClient() if client is None else nullcontext(client) as api:
        program = make(api.retry_for)
        go: Callable[[Any], Flow[Any] | Do] = program.send
        value: Any = None
        while True:
            try:
                step = go(value)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                value, go = await (step.asynchronous() if isinstance(step, Do) else api.run(step)), program.send
            except GeneratorExit:
                raise  # the coroutine is thrown away, and may not await
            except BaseException as error:
                value, go = error, program.throw
