"""Use of an approval: once, while it is valid, for what was approved; then the report of its outcome."""

from dataclasses import replace
from datetime import datetime

from domain.pauses.consumption import NO_OUTCOME, Consumption, ExecutionReport, ExecutionStatus
from domain.pauses.pause import Event, Pause, Status
from domain.pauses.serialization import instant
from domain.pauses.validity import outcome_due_at, valid_until
from domain.values import canonical_json
from domain.values.errors import (
    AlreadyConsumed,
    ApprovalExpired,
    ArgumentsChanged,
    NotApproved,
    NotConsumed,
    OutcomeConflict,
)

CONSUMED, OUTCOME, OUTCOME_MISSING = "pause.consumed", "pause.outcome", "pause.outcome_missing"
_NOT_APPROVED = {
    Status.PENDING: "the pause is pending: wait for the decision before you use its approval",
    Status.REJECTED: "the pause was rejected: do not execute the action",
    Status.EXPIRED: "the pause expired without an approval: do not execute the action, or request it again",
    Status.CANCELLED: "the pause was cancelled: do not execute the action",
}


def consume(
    pause: Pause, key: str, digest: str | None, now: datetime, *, only_valid: bool = False
) -> tuple[Pause, tuple[Event, ...]]:
    """Use the approval at `now`; return the pause unchanged if this key has used it.

    Args:
        key: identifies the use.
        digest: the digest of the arguments that the caller is about to execute; None skips the comparison.
        only_valid: refuse a repetition after the validity too.

    Raises:
        NotApproved, AlreadyConsumed, ApprovalExpired, ArgumentsChanged.
    """
    if pause.status is not Status.APPROVED:
        raise NotApproved(_NOT_APPROVED.get(pause.status))
    used, until = pause.consumption, valid_until(pause)
    if used is not None and used.key != key:
        raise AlreadyConsumed(
            f"the approval was used at {instant(used.at)} with another Idempotency-Key: do not execute the action again"
        )
    if (used is None or only_valid) and until is not None and until <= now:
        raise ApprovalExpired(
            f"the approval was valid until {instant(until)}: do not execute the action, and request a new approval"
        )
    _check_digest(pause, digest)
    if used is not None:
        return pause, ()
    # A transaction that began before that of the decision, and waited for the row, has an earlier time.
    at = now if pause.decision is None else max(now, pause.decision.at)
    consumed = replace(pause, consumption=Consumption(at, key, outcome_due_at(pause, at)))
    return consumed, (Event(CONSUMED, consumed, at),)


def _check_digest(pause: Pause, digest: str | None) -> None:
    if digest is None or (pause.arguments_digest is not None and digest == pause.arguments_digest.hex()):
        return
    if pause.arguments_digest is None:
        raise ArgumentsChanged("the pause has no arguments: leave out argumentsDigest, and execute only the action")
    raise ArgumentsChanged(
        f"the approved arguments have the digest {pause.arguments_digest.hex()}:"
        " execute `decision.arguments`, and send their digest"
    )


def report(pause: Pause, outcome: ExecutionReport, *, settles: bool = False) -> tuple[Pause, tuple[Event, ...]]:
    """Record the outcome; return the pause unchanged if it was reported before. An unknown outcome needs a look too.

    Args:
        settles: an outcome that was reported as unknown may be replaced.

    Raises:
        NotConsumed, OutcomeConflict.
    """
    used = pause.consumption
    if used is None:
        raise NotConsumed(_not_consumed(pause))
    first = used.report
    if first is not None and first.by is None and _content(first) == _content(outcome):
        return pause, ()
    if first is not None and not (settles and first.status is ExecutionStatus.UNKNOWN):
        raise OutcomeConflict(_final(first))
    reported = replace(pause, consumption=replace(used, report=outcome, outcome_due_at=None))
    events = [Event(OUTCOME, reported, outcome.at)]
    if outcome.status is ExecutionStatus.UNKNOWN:
        events.append(Event(OUTCOME_MISSING, reported, outcome.at))
    return reported, tuple(events)


def settle(pause: Pause, outcome: ExecutionReport) -> tuple[Pause, tuple[Event, ...]]:
    """Record what an operator found out about an unknown or missing outcome. The agent's own result stays.

    Return the pause unchanged if an operator has recorded the same.

    Raises:
        NotConsumed, OutcomeConflict.
    """
    used = pause.consumption
    if used is None:
        raise NotConsumed(_not_consumed(pause))
    first, due = used.report, used.outcome_due_at
    if first is None:
        if pause.outcome_within == NO_OUTCOME:
            raise OutcomeConflict("the agent's client cannot report an outcome, so none is missing: do not settle it")
        if due is not None and due > outcome.at:
            raise OutcomeConflict(f"the agent may still report the outcome until {instant(due)}: settle it after that")
    elif first.by is not None and (first.status, first.note) == (outcome.status, outcome.note):
        return pause, ()
    elif first.status is not ExecutionStatus.UNKNOWN:
        raise OutcomeConflict(_final(first))
    settled = replace(outcome, result=None if first is None else first.result)
    changed = replace(pause, consumption=replace(used, report=settled, outcome_due_at=None))
    return changed, (Event(OUTCOME, changed, outcome.at),)


def _final(first: ExecutionReport) -> str:
    how = "reported" if first.by is None else "settled by an operator"
    return f"the outcome {first.status} was {how} at {instant(first.at)}, and does not change: read it in `current`"


def _not_consumed(pause: Pause) -> str:
    if pause.status is Status.APPROVED:
        return "the approval is not used yet: consume it before you execute the action, then report the outcome"
    return _NOT_APPROVED.get(pause.status) or "the pause is not approved: there is no outcome to report"


def _content(outcome: ExecutionReport) -> tuple[str, str | None, bytes]:
    # Compare as JSON, because Python's True equals 1.
    return str(outcome.status), outcome.note, canonical_json.digest(outcome.result)


def miss_outcome(pause: Pause, now: datetime) -> tuple[Pause, tuple[Event, ...]]:
    """Record that the report is overdue, once."""
    used = pause.consumption
    if used is None or used.outcome_due_at is None or used.outcome_due_at > now:
        return pause, ()
    missed = replace(pause, consumption=replace(used, outcome_due_at=None))
    return missed, (Event(OUTCOME_MISSING, missed, now),)
