"""The policy floor of a namespace: an agent's or a manifest's own policy may be stricter, never weaker.

A weaker number or a missing group is raised to the floor. Parts that cannot be combined with it are refused in a
request. In a held step they are omitted, because the floor may have changed since its manifest was deployed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.pauses.approval_policy import (
    MAX_STAGES,
    ONE_APPROVAL,
    ApprovalPolicy,
    Escalation,
    RejectOn,
    Stage,
    VoterSelection,
)
from domain.pauses.pause import OnTimeout
from domain.values.errors import FieldError

# A timeout must not approve, unless an admin allows it.
ON_TIMEOUT = (OnTimeout.EXPIRE, OnTimeout.REJECT, OnTimeout.ESCALATE)


@dataclass(frozen=True, slots=True)
class PolicyFloor:
    """
    Attributes:
        namespace: the namespace of the floor.
        on_timeout: the values that a pause may have.
        min_expires_in: the minimum seconds until a pause expires.
        approval_valid_for: the maximum seconds in which an approval may be used, and the default.
    """

    namespace: str
    review: ApprovalPolicy = ONE_APPROVAL
    on_timeout: tuple[OnTimeout, ...] = ON_TIMEOUT
    min_expires_in: int | None = None
    approval_valid_for: int | None = None

    @property
    def path(self) -> str:
        """The request by which an admin changes the floor."""
        return f"PUT /v1/namespaces/{self.namespace}"

    def default_on_timeout(self) -> OnTimeout:
        return next((each for each in (*ON_TIMEOUT, OnTimeout.APPROVE) if each in self.on_timeout), OnTimeout.EXPIRE)

    def allowed_on_timeout(self, wanted: OnTimeout) -> OnTimeout:
        return wanted if wanted in self.on_timeout else self.default_on_timeout()

    def valid_for(self, wanted: int | None) -> int | None:
        """Return the validity in seconds of an approval for which the agent asks for `wanted`."""
        limits = [each for each in (wanted, self.approval_valid_for) if each is not None]
        return min(limits, default=None)

    def lengthened(self, expires: timedelta) -> timedelta:
        return max(expires, timedelta(seconds=self.min_expires_in or 0))


def combined(floor: ApprovalPolicy, own: ApprovalPolicy | None) -> ApprovalPolicy:
    """Return a policy that is at least as strict as both."""
    if own is None:
        return floor
    escalates = own.escalate is not None and _may_escalate(floor, own.escalate)
    return ApprovalPolicy(
        stages=_stages(floor.stages, own.stages)[:MAX_STAGES],
        allow_self=own.allow_self and floor.allow_self,
        remind_after=own.remind_after or floor.remind_after,
        escalate=own.escalate if escalates else floor.escalate,
    )


def review_errors(floor: PolicyFloor, own: ApprovalPolicy | None, place: str) -> Iterator[FieldError]:
    """Yield the parts of the policy that would weaken the floor and cannot be raised to it."""
    if own is None:
        return
    if own.allow_self and not floor.review.allow_self:
        yield FieldError(
            f"{place}.allow_self", f"is not allowed here: ask an admin to set review.allow_self ({floor.path})"
        )
    if own.escalate is not None and not _may_escalate(floor.review, own.escalate):
        message = f"adds voters that the namespace's policy does not name, or adds them sooner ({floor.path})"
        yield FieldError(f"{place}.escalate", message)
    if len(_stages(floor.review.stages, own.stages)) > MAX_STAGES:
        yield FieldError(
            f"{place}.stages", f"must be at most {MAX_STAGES} together with those of the namespace's policy"
        )


def on_timeout_errors(floor: PolicyFloor, wanted: OnTimeout, place: str) -> Iterator[FieldError]:
    if wanted not in floor.on_timeout:
        allowed = ", ".join(floor.on_timeout)
        message = f"{wanted} is not allowed in the namespace {floor.namespace!r}: use one of {allowed}"
        yield FieldError(place, f"{message}, or ask an admin to change allowed_on_timeout ({floor.path})")


def expiry_errors(
    floor: PolicyFloor, expires: timedelta | datetime | None, now: datetime, place: str
) -> Iterator[FieldError]:
    if expires is None or floor.min_expires_in is None:
        return
    if (expires - now if isinstance(expires, datetime) else expires) < timedelta(seconds=floor.min_expires_in):
        message = f"must be at least {floor.min_expires_in} s in the namespace {floor.namespace!r}"
        yield FieldError(place, f"{message} (min_expires_in, {floor.path})")


def _stages(floor: Sequence[Stage], own: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return stages that are complete only if both policies' stages would be."""
    if tuple(floor) == ONE_APPROVAL.stages or _covers(own, floor):
        return tuple(own)
    if tuple(own) == ONE_APPROVAL.stages:
        return tuple(floor)
    if len(own) == len(floor):
        both = [_stricter(*pair) for pair in zip(floor, own, strict=True)]
        found = tuple(stage for stage in both if stage is not None)
        if len(found) == len(both):
            return found
    if len(own) == 1 and own[0].voters.anybody:
        # A person votes in one stage only, so the floor's stages already need that many people.
        left = own[0].approvals - sum(stage.approvals for stage in floor)
        return (*floor, replace(own[0], approvals=left)) if left > 0 else tuple(floor)
    return (*floor, *own)


def _covers(own: Sequence[Stage], floor: Sequence[Stage]) -> bool:
    """Return whether each of the floor's stages has, in order, one that is at least as strict."""
    left = iter(own)
    return all(any(_at_least_as_strict(stage, wanted) for stage in left) for wanted in floor)


def _at_least_as_strict(stage: Stage, wanted: Stage) -> bool:
    strict = stage.reject_on is RejectOn.ANY or wanted.reject_on is RejectOn.MAJORITY
    return strict and stage.approvals >= wanted.approvals and _within(stage.voters, wanted.voters)


def _stricter(floor: Stage, own: Stage) -> Stage | None:
    """Return one stage for both, or None if they name different voters."""
    if _within(own.voters, floor.voters):
        voters = own.voters
    elif _within(floor.voters, own.voters):
        voters = floor.voters
    else:
        return None
    strictest = RejectOn.ANY if RejectOn.ANY in (floor.reject_on, own.reject_on) else RejectOn.MAJORITY
    return Stage(max(floor.approvals, own.approvals), voters, strictest, own.name or floor.name)


def _within(voters: VoterSelection, others: VoterSelection) -> bool:
    """Return whether `others` includes every voter of `voters`."""
    if others.anybody or voters.anybody:
        return others.anybody
    return {*voters.groups} <= {*others.groups} and {*voters.assignees} <= {*others.assignees}


def _may_escalate(floor: ApprovalPolicy, wanted: Escalation) -> bool:
    """Return whether the floor allows the escalation.

    Added voters vote in every stage. So the floor must name them in each stage, or add them itself, and no later.
    """
    if all(_within(wanted.to, stage.voters) for stage in floor.stages):
        return True
    added = floor.escalate
    if added is None or not _within(wanted.to, added.to):
        return False
    return wanted.after == added.after or (None not in (wanted.after, added.after) and _later(wanted, added))


def _later(wanted: Escalation, added: Escalation) -> bool:
    return (wanted.after or 0) >= (added.after or 0)
