"""What can come of a tool call. Where money depends on it: done, certainly not done, or nobody knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.sagas.step import Error

# Executions of one call whose outcome was lost each time: beyond this it may be the call that kills the worker.
CALLS_AGAIN = 5
# Waits before a call is tried again that could not even be sent: a tool server restarts within these. Seconds.
_POSTPONED_FOR = (1.0, 3.0, 8.0, 20.0)


@dataclass(frozen=True, slots=True)
class Done:
    data: Any


@dataclass(frozen=True, slots=True)
class ToolFound:
    """Of a tool that was looked up. `schema`: what its server says it wants to be called with."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The tool, or its server, said so; or nothing was sent and never will be.

    Attributes:
        acted: it has done its work all the same: only its answer is of no use.
    """

    error: Error
    acted: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing reached the tool this time; a little later it might."""

    error: Error


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The deadline passed before the answer came.

    Attributes:
        acted: something may have been done.
    """

    error: Error
    acted: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection, the tool's server or the worker broke off after the call was sent.

    Attributes:
        idempotent: the tool may be asked again with the same key.
        answer: what came instead of an answer that can be read, for the person who has to find out.
    """

    message: str
    idempotent: bool
    answer: str | None = None


Outcome = Done | Failed | NotSent | TimedOut | Lost


def postponement(attempt: int, uniform: float) -> timedelta | None:
    """How long to wait after so many executions, ±20 % by `uniform` (0 to 1); None: it is not tried again."""
    if attempt > len(_POSTPONED_FOR):
        return None
    return timedelta(seconds=_POSTPONED_FOR[attempt - 1] * (0.8 + 0.4 * uniform))
