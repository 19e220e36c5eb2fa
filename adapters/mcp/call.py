"""One call of a tool, from the look-up of the tool to the domain's outcome."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.mcp.framing import Exchange
from adapters.mcp.outcome import CallError, ToolInfo, unavailable
from adapters.mcp.session import McpSession, Progress
from domain.sagas.outcome import Done, Failed, Lost, Outcome, TimedOut, of_repeat
from domain.sagas.step import Error
from domain.sagas.tool_arguments import unfilled

_ENDED = "the worker ended before the tool's answer was recorded"


@dataclass(slots=True)
class Call:
    """
    Attributes:
        idempotent: whether the call may be repeated; None leaves that to the tool's own hint.
        again: an earlier call may have reached the tool. The call is made only if it is idempotent.
        may_be_null: required arguments that may be null. None: the server alone checks the arguments.
        ours: asked immediately before each time that the call is written, in any thread. False prevents the call.
        progress: receives the progress that the server reports, on the loop.
        source: the name of the tool source in use.
    """

    tool: str
    arguments: Mapping[str, Any]
    meta: Mapping[str, Any]
    idempotency_key: str
    idempotent: bool | None = None
    again: bool = False
    may_be_null: Collection[str] | None = None
    ours: Callable[[], bool] | None = None
    progress: Progress | None = None
    source: str = ""
    _exchanges: list[Exchange] = field(default_factory=list)

    async def make(self, session: McpSession, tool: ToolInfo) -> Outcome:
        """Make the call, if it may be made. Raises `CallError`, and `SessionGone` to repeat it in a new session."""
        if self.idempotent is None:
            self.idempotent = bool(tool.idempotent)
        if self.again and not self.idempotent:
            return Lost(f"{_ENDED}, and the tool is not idempotent", False)
        if self.may_be_null is not None and not self.again:
            missing = unfilled(tool.input_schema, self.arguments, self.may_be_null)
            if missing is not None:
                return Failed(Error("ARGUMENT_MISSING", f"the tool {self.tool!r} {missing}: nothing was called"))
        exchange = Exchange(call=True, ours=self.ours)
        self._exchanges.append(exchange)
        key = self.idempotency_key
        return Done(await session.call(tool, self.arguments, self.meta, key, exchange, self.progress))

    def error(self, error: CallError) -> Outcome:
        """The outcome of a call that ended by this error."""
        if isinstance(error.outcome, Lost):
            return replace(error.outcome, idempotent=bool(self.idempotent))
        return of_repeat(error.outcome, f"{_ENDED}, and the tool") if self.again else error.outcome

    def timed_out(self, seconds: float) -> Outcome:
        """The outcome of a call that ends at its deadline. Nothing of it is sent from now on."""
        sent = [exchange.give_up() for exchange in self._exchanges]
        if any(sent):
            text = f"the tool {self.tool!r} gave no answer within {seconds:g} s"
            return TimedOut(Error("STEP_TIMED_OUT", text))
        return unavailable(f"tool source {self.source!r} was not ready within {seconds:g} s")

    def broke_off(self, error: Exception) -> Outcome:
        """The outcome of a call that ended by an internal error."""
        return Lost(f"internal error, see the worker's log: {type(error).__name__}", bool(self.idempotent))
