"""How calls of tools end, as tests expect them to."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.mcp import CallError
from domain.sagas.outcome import Done, Failed, Lost, NotSent, Outcome, TimedOut


def data_of(call: "Future[Outcome]") -> Any:
    """Wait for the call, which has its own deadline. Raises `CallError` for one that is not done."""
    outcome = call.result()
    if isinstance(outcome, Done):
        return outcome.data
    raise CallError(outcome)


@dataclass(frozen=True)
class Ending:
    """`code`: of the error; a lost call has none."""

    kinds: tuple[type, ...]
    code: str | None
    answered: bool = False
    acted: bool = False

    def fits(self, outcome: Outcome) -> bool:
        error = getattr(outcome, "error", None)
        said = None if error is None else error.code
        flags = getattr(outcome, "answered", False), getattr(outcome, "acted", False)
        return isinstance(outcome, self.kinds) and (said, *flags) == (self.code, self.answered, self.acted)


TOOL_NOT_FOUND = Ending((Failed,), "TOOL_NOT_FOUND")
NOT_CONFIGURED = Ending((Failed,), "WORKER_CONFIG_LOAD_FAILED")
UNAVAILABLE = Ending((Failed, NotSent), "MCP_UNAVAILABLE")
LEASE_LOST = Ending((NotSent,), "LEASE_LOST")
TOOL_FAILED = Ending((Failed,), "TOOL_INVOKE_FAILED", answered=True)
BAD_OUTPUT = Ending((Failed,), "TOOL_OUTPUT_ERROR", answered=True, acted=True)
TIMED_OUT = Ending((TimedOut,), "STEP_TIMED_OUT", acted=True)
LOST = Ending((Lost,), None)


@contextmanager
def ends(ending: Ending, match: str | None = None) -> "Iterator[pytest.ExceptionInfo[CallError]]":
    with pytest.raises(CallError, match=match) as raised:
        yield raised
    assert ending.fits(raised.value.outcome), raised.value.outcome
