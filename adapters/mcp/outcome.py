"""What can come of a tool call. Money depends on telling the three kinds of failure apart.

`NotSent`: certainly nothing was done. `Answered`: the server had the call and answered it. `Unknown`: it may or may not
have been done. Whatever is in doubt is `Unknown`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types

from domain import outcome
from domain.json_value import faults
from domain.step import Error

# Of a server's own words in an error: enough to understand it, little enough for a row and a log line.
MAX_WORDS = 2000


class NotSent(Exception):
    """Certainly nothing was done."""


class NotConfigured(NotSent):
    """The tool source cannot be used as it is configured in this worker."""


class Unavailable(NotSent):
    """The server could not be started, reached or spoken to, or refused the call before looking at it."""


class ToolNotFound(NotSent):
    """The server has no such tool."""


class Answered(Exception):
    """The server had the call and answered it."""


class ToolFailed(Answered):
    """The tool says that it failed; the text is the tool's own, cut to `MAX_WORDS` characters."""


class BadOutput(Answered):
    """The tool has done its work, but what it answered cannot be used."""


class Unknown(Exception):
    """The call may or may not have been done."""


class TimedOut(Unknown):
    """The call was sent; no answer came before the deadline."""


class Lost(Unknown):
    """The call was sent; the server, its connection or the sense of its answer was lost."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """
    Attributes:
        data: JSON that every reader understands alike (`domain.json_value`), at most 1 MiB with all around it.
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
        hints.idempotent_hint if hints else None,
        hints.destructive_hint if hints else None,
        hints.read_only_hint if hints else None,
    )


def read_result(tool: str, result: mcp_types.CallToolResult) -> CallResult:
    """`structuredContent`, else the text parsed as JSON, else `{"text": …}`. Raises `ToolFailed` or `BadOutput`."""
    text = "\n".join(block.text for block in result.content if isinstance(block, mcp_types.TextContent))
    if result.is_error:
        raise ToolFailed(words(text) or f"the tool {tool!r} failed without a word")
    if result.structured_content is not None:
        return CallResult(_usable(tool, result.structured_content))
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return CallResult(_usable(tool, {"text": text}))
    if next(faults(data, ""), None) is not None:  # text that only looks like JSON: NaN, or an integer of 5000 digits
        return CallResult(_usable(tool, {"text": text}))
    return CallResult(data)


def _usable(tool: str, data: Any) -> Any:
    fault = next(faults(data, "output"), None)
    if fault is not None:
        raise BadOutput(f"the tool {tool!r} was executed, but {fault.path} {fault.message}")
    return data


def not_sent(error: NotSent, before: str | None) -> outcome.Outcome:
    """What it means for a step. `before`: what is known of an earlier attempt that may have been carried out, and of
    which this says nothing; None where there was none."""
    if not isinstance(error, ToolNotFound | NotConfigured):
        return outcome.NotSent(Error("MCP_UNAVAILABLE", str(error)))
    if before is not None:
        return outcome.Lost(f"{before} cannot be asked again: {error}", idempotent=False)
    missing = isinstance(error, ToolNotFound)
    return outcome.Failed(Error("TOOL_NOT_FOUND" if missing else "WORKER_CONFIG_LOAD_FAILED", str(error)))
