"""What can come of a tool call. Money depends on telling the three kinds of failure apart.

`NotSent`: certainly nothing was done. `Answered`: the server had the call and answered it. `Unknown`: it may or may not
have been done. Whatever is in doubt is `Unknown`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types

from domain.sagas import outcome
from domain.sagas.step import Error

# Of a server's own words in an error: enough to understand it, little enough for a row and a log line.
MAX_WORDS = 2000


class NotSent(Exception):
    """Certainly nothing was done."""


class NotConfigured(NotSent):
    """The tool source cannot be used as it is configured in this worker."""


class Unavailable(NotSent):
    """The server could not be started, reached or spoken to.

    Attributes:
        permanent: it would be the same a little later: somebody has to change something first.
    """

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class LeaseLost(NotSent):
    """The step may be another worker's by now: the call was not written."""


class ToolNotFound(NotSent):
    """The server has no such tool."""


class Answered(Exception):
    """The server had the call and answered it.

    Attributes:
        answer: what it answered, where that cannot be used; cut to `MAX_WORDS` characters.
    """

    def __init__(self, text: str, answer: str | None = None) -> None:
        super().__init__(text)
        self.answer = answer


class ToolFailed(Answered):
    """The tool says that it failed; the text is the tool's own, cut to `MAX_WORDS` characters."""


class BadOutput(Answered):
    """The tool has done its work, but what it answered cannot be used."""


class Unknown(Exception):
    """The call may or may not have been done. `answer`: as in `Answered`."""

    def __init__(self, text: str, answer: str | None = None) -> None:
        super().__init__(text)
        self.answer = answer


class TimedOut(Unknown):
    """The call was sent; no answer came before the deadline."""


class Lost(Unknown):
    """The call was sent; the server, its connection or the sense of its answer was lost."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """
    Attributes:
        data: JSON that every reader understands alike (`domain.values.canonical_json`), at most 1 MiB in all.
    """

    data: Any


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """
    Attributes:
        idempotent: the tool's own hint that a repeated call has no further effect; None when it does not say.
        destructive: its hint that it may destroy something; None when it does not say.
        read_only: its hint that it changes nothing; None when it does not say.
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
    wakeups = tool.annotations
    return ToolInfo(
        tool.name,
        tool.description or "",
        tool.input_schema,
        tool.output_schema,
        wakeups.idempotent_hint if wakeups else None,
        wakeups.destructive_hint if wakeups else None,
        wakeups.read_only_hint if wakeups else None,
    )


def not_sent(error: NotSent, before: str | None) -> outcome.Outcome:
    """What it means for a step. `before`: what is known of an earlier attempt that may have been carried out, and of
    which this says nothing; None where there was none."""
    permanent = isinstance(error, ToolNotFound | NotConfigured) or (isinstance(error, Unavailable) and error.permanent)
    if not permanent:
        return outcome.NotSent(Error("MCP_UNAVAILABLE", str(error)))
    if before is not None:
        return outcome.Lost(f"{before} cannot be asked again: {error}", idempotent=False)
    match error:
        case ToolNotFound():
            code = "TOOL_NOT_FOUND"
        case NotConfigured():
            code = "WORKER_CONFIG_LOAD_FAILED"
        case _:
            code = "MCP_UNAVAILABLE"
    return outcome.Failed(Error(code, str(error)))
