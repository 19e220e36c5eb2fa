"""The outcomes of a tool call. Money depends on the difference between done, certainly not done, and unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.sagas.step import Error

# Executions of one call whose outcome was lost each time. One more might be the call that kills the worker.
CALLS_AGAIN = 5
# Seconds to wait before a call that was not sent is tried again. A tool server restarts within these.
_POSTPONED_FOR = (1.0, 3.0, 8.0, 20.0)
# The code of a call that was not sent, as another worker may have taken over the step.
LEASE_LOST = "LEASE_LOST"


@dataclass(frozen=True, slots=True)
class Done:
    """
    Attributes:
        data: JSON that every reader understands alike (`domain.values.canonical_json`), at most 1 MiB in all.
    """

    data: Any


@dataclass(frozen=True, slots=True)
class ToolFound:
    """The result of a tool look-up. `schema`: the arguments that the tool takes, as its server describes them."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The tool or its server reported a failure; or nothing was sent, and a later try finds the same.

    Attributes:
        acted: the tool has done its work, but its answer cannot be used.
        answered: the tool itself answered. Otherwise this says nothing about an earlier call.
    """

    error: Error
    acted: bool = False
    answered: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing reached the tool this time; a later try may succeed."""

    error: Error


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The deadline passed before the answer arrived.

    Attributes:
        acted: something may have been done.
    """

    error: Error
    acted: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection, the tool's server or the worker broke off after the call was sent.

    Attributes:
        idempotent: the call may be repeated with the same key.
        answer: what the server sent instead of a readable answer, for the operator who has to find out.
    """

    message: str
    idempotent: bool
    answer: str | None = None


Outcome = Done | Failed | NotSent | TimedOut | Lost


def of_repeat(outcome: Outcome, before: str) -> Outcome:
    """The outcome of a repeated call: a call that cannot be sent says nothing about the earlier one.

    `before`: what is known of the earlier call, as the subject of a sentence.
    """
    if isinstance(outcome, Failed) and not outcome.answered:
        return Lost(f"{before} cannot be asked again: {outcome.error.message}", idempotent=False)
    return outcome


def postponement(attempt: int, uniform: float) -> timedelta | None:
    """Return the wait after so many executions, ±20 % by `uniform` (0 to 1); None: there is no further try."""
    if attempt > len(_POSTPONED_FOR):
        return None
    return timedelta(seconds=_POSTPONED_FOR[attempt - 1] * (0.8 + 0.4 * uniform))
