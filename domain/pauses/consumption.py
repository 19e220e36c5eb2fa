"""The use of an approval, and the report of its outcome."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.pauses.votes import Actor

# Seconds, with a year and a month as the upper limits.
MAX_VALID_FOR = 31_536_000
MIN_OUTCOME_WITHIN, MAX_OUTCOME_WITHIN, OUTCOME_WITHIN = 60, 2_592_000, 900
# The `outcome_within` of a pause whose client cannot report an outcome: none is due, so none is ever missing.
NO_OUTCOME = 0
# In a filter: the report of the outcome is overdue; it is, or the outcome is unknown.
MISSING, NEEDS_LOOK = "missing", "look"
MAX_NOTE = 1_000
MAX_RESULT_BYTES = 64 * 1024


class ExecutionStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


# An operator may record one of these.
SETTLED = (ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED)


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """The outcome of the approved action.

    Attributes:
        result: any JSON value.
        by: the operator who settled the outcome; None if the agent reported it.
    """

    status: ExecutionStatus
    at: datetime
    note: str | None = None
    result: Any = None
    by: Actor | None = None


@dataclass(frozen=True, slots=True)
class Consumption:
    """The one use of an approval.

    Attributes:
        key: the Idempotency-Key of the request. Only its repetition gets the same answer.
        outcome_due_at: when the missing report becomes an event; None after the report or the event, or if none is due.
    """

    at: datetime
    key: str
    outcome_due_at: datetime | None = None
    report: ExecutionReport | None = None
