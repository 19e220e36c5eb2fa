"""Look at a tool before its call is held: where it is, and what it wants to be called with. Nothing is called."""

import logging
import random
import time
from collections.abc import Sequence

from adapters import mcp
from domain.manifests.definition import ToolSource
from domain.sagas.outcome import Failed, NotSent, ToolFound
from domain.sagas.step import Error
from services.sagas.engine import record_look_up
from services.sagas.work import Capacity, ToolLookup, Work
from tasks.retry_while_leased import insist
from tasks.runtime import database, tool_client

log = logging.getLogger(__name__)


def look_up_and_record(work: ToolLookup, room: Capacity) -> Work | None:
    found = look_up(work)
    jitter = random.random()  # noqa: S311  (no secret)
    return insist(lambda: record_look_up(database(), work, found, jitter, room))


def look_up(work: ToolLookup) -> ToolFound | Failed | NotSent:
    """A server that is away may be there later; a tool that is missing, or a source not configured, is a failure."""
    try:
        _, info = find(work.sources, work.tool, time.monotonic() + work.timeout)
        return ToolFound(dict(info.input_schema))
    except mcp.NotSent as error:
        outcome = mcp.not_sent(error, None)
        assert isinstance(outcome, Failed | NotSent), "nothing was called before"
        return outcome
    except Exception as error:
        log.exception("a tool could not be looked up", extra={"tool": work.tool})
        why = f"internal error, see the worker's log: {type(error).__name__}"
        return NotSent(Error("MCP_UNAVAILABLE", why))


def find(sources: Sequence[ToolSource], tool: str, until: float) -> tuple[ToolSource, mcp.ToolInfo]:
    """The first source that has the tool. Raises `mcp.NotSent`, also when a source before that one is away: another's
    tool of the same name is not what was approved."""
    for source in sources:
        for info in tool_client().tools(source, max(0.1, until - time.monotonic())):
            if info.name == tool:
                return source, info
    raise mcp.ToolNotFound(tool_client().missing(sources, tool))
