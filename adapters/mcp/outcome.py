"""How a request to a tool server ends, as the domain's outcome, and what a server says of its tools.

Money depends on the difference between not sent, failed, unknown and done. Any doubt makes the outcome unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import mcp_types

from domain.sagas.outcome import LEASE_LOST, Failed, Lost, NotSent, TimedOut
from domain.sagas.step import TOOL_OUTPUT_ERROR, Error

# Characters of a server's own text in an error: enough to understand it, few enough for a row and a log line.
MAX_WORDS = 2000
TOOL_NOT_FOUND = "TOOL_NOT_FOUND"
TOOL_INVOKE_FAILED = "TOOL_INVOKE_FAILED"


class CallError(Exception):
    """A request that yields no result. Its text may be stored and shown to operators."""

    def __init__(self, outcome: Failed | NotSent | TimedOut | Lost) -> None:
        super().__init__(outcome.message if isinstance(outcome, Lost) else outcome.error.message)
        self.outcome = outcome

    @property
    def not_sent(self) -> bool:
        """Whether certainly nothing was carried out, and the tool itself has said nothing."""
        return isinstance(self.outcome, NotSent) or (isinstance(self.outcome, Failed) and not self.outcome.answered)

    def prefixed(self, where: str) -> "CallError":
        """Return the same error with `where` before its text."""
        text, outcome = f"{where}: {self}", self.outcome
        if isinstance(outcome, Lost):
            return CallError(replace(outcome, message=text))
        return CallError(replace(outcome, error=replace(outcome.error, message=text)))

    @classmethod
    def failed(cls, code: str, text: str) -> Self:
        """Make the error of a request that was not sent, and that a later try would not send either."""
        return cls(Failed(Error(code, text)))

    @classmethod
    def lost(cls, text: str, answer: str | None = None) -> Self:
        """Make the error of a request with an unknown outcome. `answer`: the server's unreadable text."""
        return cls(Lost(text, idempotent=False, answer=answer))


def not_configured(text: str) -> CallError:
    """The worker cannot use the tool source as it is configured."""
    return CallError.failed("WORKER_CONFIG_LOAD_FAILED", text)


def tool_not_found(text: str) -> CallError:
    """The server has no such tool."""
    return CallError.failed(TOOL_NOT_FOUND, text)


def unavailable(text: str, *, permanent: bool = False) -> Failed | NotSent:
    """The server cannot be started, reached or spoken to. `permanent`: a person has to change something first."""
    error = Error("MCP_UNAVAILABLE", text)
    return Failed(error) if permanent else NotSent(error)


def lease_lost(text: str) -> CallError:
    """The step may belong to another worker by now, so nothing was written."""
    return CallError(NotSent(Error(LEASE_LOST, text)))


def tool_failed(text: str) -> CallError:
    """The tool says that it failed, in its own words."""
    return CallError(Failed(Error(TOOL_INVOKE_FAILED, text), answered=True))


def bad_output(text: str, answer: str | None = None) -> CallError:
    """The tool has done its work, but its answer is unusable."""
    details = None if answer is None else {"answer": answer}
    return CallError(Failed(Error(TOOL_OUTPUT_ERROR, text, details), acted=True, answered=True))


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """
    Attributes:
        idempotent: the tool's own hint that a repeated call has no further effect; None when it does not say.
        destructive: whether the tool says that it may destroy something; None when it does not say.
        read_only: whether the tool says that it changes nothing; None when it does not say.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    idempotent: bool | None
    destructive: bool | None
    read_only: bool | None


def words(text: str) -> str:
    """A server's text, fit for a row and a log line."""
    text = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd").strip()
    return text if len(text) <= MAX_WORDS else text[:MAX_WORDS] + "…"


def tool_info(tool: mcp_types.Tool) -> ToolInfo:
    hints = tool.annotations
    return ToolInfo(
        tool.name,
        tool.description or "",
        tool.input_schema,
        tool.output_schema,
        hints.idempotent_hint if hints else None,
        hints.destructive_hint if hints else None,
        hints.read_only_hint if hints else None,
    )
