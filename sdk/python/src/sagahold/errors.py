"""Errors. Each has the pause, if there is one, and says what happened and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagahold.pauses import Decision, Outcome, Pause


class SagaholdError(Exception):
    """Base of all errors of this package. The action did not run, unless the class says otherwise."""

    def __init__(self, message: str, pause: Pause | None = None) -> None:
        super().__init__(message)
        self.pause = pause

    @property
    def decision(self) -> Decision | None:
        return None if self.pause is None else self.pause.decision


class NotApproved(SagaholdError):
    """Base of the errors for an action that has no usable approval."""


class Rejected(NotApproved):
    """A reviewer has rejected the action."""


class Expired(NotApproved):
    """The time for a decision ran out."""


class Cancelled(NotApproved):
    """The agent has taken the request back."""


class ApprovalExpired(NotApproved):
    """The action was approved, but the approval was not used within its time."""


class StillPending(NotApproved):
    """The decision did not come within the timeout. The pause still waits for it."""


class AlreadyUsed(SagaholdError):
    """The approval was used before. `outcome` has the report of that run; None means that its result is unknown."""

    @property
    def outcome(self) -> Outcome | None:
        return None if self.pause is None else self.pause.outcome


class ArgumentsChanged(SagaholdError):
    """The agent's saved state has another call than the one for which the approval was requested."""


class NotReachable(SagaholdError):
    """The server gave no usable answer for too long."""


class UnexpectedResponse(SagaholdError):
    """The server's answer is not what its API promises, so it counts as no approval."""


class RequestError(SagaholdError):
    """The server refused the request (RFC 9457 problem). Branch on `code`; `errors` names invalid fields."""

    def __init__(self, status: int, code: str, detail: str, errors: Sequence[Any] = ()) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status, self.code, self.detail, self.errors = status, code, detail, errors

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.code, self.detail, self.errors)


def not_usable(pause: Pause) -> SagaholdError:
    """Return the error that tells why the pause permits nothing to run (any more)."""
    name, where = f"“{pause.action}”", f"See {pause.review_url}"
    if pause.consumed_at is not None:
        return AlreadyUsed(f"{name} {_use(pause, pause.consumed_at)} {where}", pause)
    decision = pause.decision
    by = "the deadline" if decision is None or decision.decided_by == "system" else decision.decided_by_name
    why = f": {decision.comment}" if decision is not None and decision.comment else ""
    if pause.status == "rejected":
        return Rejected(f"{name} was rejected by {by}{why}. Do not run it. {where}", pause)
    if pause.status == "expired":
        return Expired(f"{name} did not get a decision in time. To ask again, use another key. {where}", pause)
    if pause.status == "cancelled":
        return Cancelled(f"{name} was cancelled{why}. To ask again, use another key. {where}", pause)
    if pause.status == "pending":
        return StillPending(f"{name} still waits for a decision. {where}", pause)
    until = None if decision is None else decision.valid_until
    return ApprovalExpired(
        f"{name} was approved by {by}, but the approval was valid only until {until}. "
        f"To ask again, use another key; a larger valid_for leaves more time. {where}",
        pause,
    )


def _use(pause: Pause, consumed_at: str) -> str:
    if pause.outcome is None:
        return (
            f"was started at {consumed_at}, and its result is unknown: the process may have died, or may still run. "
            f"It does not run again. Find out whether the action took place, then report it: "
            f'client.outcome("{pause.watch_id}", "succeeded") or "failed". Use another key only if it must run again.'
        )
    if pause.outcome.status == "unknown":
        return f"was started at {consumed_at}, and its result was reported as unknown. Find out whether it took place."
    return f"was run at {consumed_at} and {pause.outcome.status}. It does not run again; another key asks again."
