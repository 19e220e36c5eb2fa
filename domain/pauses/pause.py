"""A pause: an action that is held until a person decides, its time runs out, or its creator cancels it.

    pending ── approve ──▶ approved      pending ── timeout ──▶ expired | rejected | approved (set by `on_timeout`)
    pending ── reject ───▶ rejected      pending ── cancel ───▶ cancelled

Every status but `pending` is final, and only `decide` resolves a pause. If the approval policy needs several votes,
approve and reject are votes (`domain.pauses.votes`). The vote that completes them resolves the pause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain.identity.access import ANONYMOUS
from domain.pauses import votes
from domain.pauses.approval_policy import ANYBODY, ONE_APPROVAL, ApprovalPolicy, VoterSelection
from domain.pauses.consumption import Consumption
from domain.pauses.content import PauseContent
from domain.pauses.review_claim import ReviewClaim
from domain.pauses.votes import Actor as Actor
from domain.pauses.votes import EligibleVoters, Vote, Voter
from domain.values import canonical_json, json_schema
from domain.values.errors import FieldError, Invalid, NotUnderstood, RevisionChanged, RevisionRequired, SelfDecision

SYSTEM = "system"
_OWN_PAUSE = (
    "you created this pause, so you cannot decide it: ask a reviewer with another key; or an admin allows it for"
    ' later pauses, PUT /v1/namespaces/{} with {{"review": {{"allow_self": true}}}}'
)
# Kinds of pause: an agent's own, and one that holds a saga's step.
AGENT, STEP = "agent", "step"


class Status(StrEnum):
    """The first decision, timeout or cancel ends `pending`. The other statuses are final."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class OnTimeout(StrEnum):
    EXPIRE = "expire"
    REJECT = "reject"
    APPROVE = "approve"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class Decision:
    outcome: Status
    by: Actor
    at: datetime
    comment: str | None = None
    response: Any = None


@dataclass(frozen=True, slots=True)
class Pause(PauseContent):
    """A held action with its approval policy, its votes and its decision.

    Attributes:
        posted_arguments: the arguments before a reviewer edited them; None if they were not edited.
        votes: empty if the first vote decides (`review.plain`).
        attend_at: when the next reminder or escalation is due.
        reminders: how many reminders were sent.
        unreadable: the stored fields that this version does not understand. Such a pause is shown, may be rejected or
            cancelled, and expires. It is not approved under rules that this version does not know.
    """

    id: UUID
    namespace: str
    action: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    kind: str = AGENT
    status: Status = Status.PENDING
    arguments_digest: bytes | None = None
    posted_arguments: dict[str, Any] | None = None
    revision: int = 1
    on_timeout: OnTimeout = OnTimeout.EXPIRE
    review: ApprovalPolicy = ONE_APPROVAL
    decision: Decision | None = None
    consumption: Consumption | None = None
    votes: tuple[Vote, ...] = ()
    stage: int = 0
    claim: ReviewClaim | None = None
    attend_at: datetime | None = None
    reminders: int = 0
    escalated_at: datetime | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def escalated_to(self) -> VoterSelection:
        """The voters that the escalation added; empty without one."""
        return ANYBODY if self.escalated_at is None or self.review.escalate is None else self.review.escalate.to

    @property
    def eligible(self) -> list[str] | None:
        """The eligible voters of the current stage, as words; None means every reviewer of the namespace."""
        stage = self.review.stages[self.stage].voters
        return None if stage.anybody else (stage | self.escalated_to).words

    def is_own(self, id_: str) -> bool:
        """Return whether this person or key may not decide the pause because they created it."""
        return id_ == self.created_by and id_ != ANONYMOUS and not self.review.allow_self


@dataclass(frozen=True, slots=True)
class Approve:
    """An approval.

    Attributes:
        arguments: execute these instead of the posted ones.
        revision: the revision that the approver read.
    """

    by: Actor
    comment: str | None = None
    arguments: dict[str, Any] | None = None
    response: Any = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    by: Actor
    comment: str | None = None
    response: Any = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    by: Actor
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Timeout:
    """The clock passed `expires_at`."""


Command = Approve | Reject | Cancel | Timeout

# Every transition, by its starting status. A command without an entry leaves the pause unchanged.
TRANSITIONS: Mapping[tuple[Status, type], tuple[Status, ...]] = MappingProxyType(
    {
        (Status.PENDING, Approve): (Status.APPROVED,),
        (Status.PENDING, Reject): (Status.REJECTED,),
        (Status.PENDING, Cancel): (Status.CANCELLED,),
        (Status.PENDING, Timeout): (Status.EXPIRED, Status.REJECTED, Status.APPROVED),
    }
)
ON_TIMEOUT: Mapping[OnTimeout, Status] = MappingProxyType(
    {
        OnTimeout.EXPIRE: Status.EXPIRED,
        OnTimeout.REJECT: Status.REJECTED,
        OnTimeout.APPROVE: Status.APPROVED,
        # The added voters have had the same time again by then.
        OnTimeout.ESCALATE: Status.EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a pause. `type` is the webhook's event type, such as `pause.approved`."""

    type: str
    pause: Pause
    at: datetime


def created(pause: Pause) -> Event:
    return Event("pause.created", pause, pause.created_at)


def decide(
    pause: Pause, command: Command, now: datetime, members: Sequence[Voter] = ()
) -> tuple[Pause, tuple[Event, ...]]:
    """Apply `command` to the pause at `now`; return a resolved pause unchanged.

    After `expires_at` only the timeout counts, whatever the command is. `is_satisfied_by` tells whether the result is
    what the command asked for.

    Args:
        members: who may decide in the namespace; needed unless the policy is plain.

    Raises:
        SelfDecision: the caller created the pause.
        NotEligible, NeededLater: the caller may not vote, or not at this stage.
        NotUnderstood: this version cannot read all of the pause.
        RevisionChanged, RevisionRequired, Invalid: the command does not fit the pause.
    """
    _check_self(pause, command)
    if (pause.status, type(command)) not in TRANSITIONS:
        return pause, ()
    if pause.expires_at is not None and pause.expires_at <= now:
        if pause.on_timeout is OnTimeout.ESCALATE and pause.review.escalate is not None:
            # The result must not depend on whether the sweep ran in time.
            pause, events = _given_more_time(pause, now)
            pause, more = decide(pause, command, now, members)
            return pause, (*events, *more)
        command = Timeout()
    elif isinstance(command, Timeout):
        return pause, ()
    _check_understood(pause, command)
    if isinstance(command, Approve | Reject) and not pause.review.plain:
        return _vote(pause, command, now, members)
    resolved = _resolve(pause, command, now)
    return resolved, (Event(f"pause.{resolved.status}", resolved, now),)


def _check_self(pause: Pause, command: Command) -> None:
    if isinstance(command, Approve | Reject) and pause.is_own(command.by.id):
        raise SelfDecision(_OWN_PAUSE.format(pause.namespace))


def _check_understood(pause: Pause, command: Command) -> None:
    if not pause.unreadable or isinstance(command, Cancel):
        return
    if isinstance(command, Timeout):
        harmless = pause.on_timeout in (OnTimeout.EXPIRE, OnTimeout.REJECT)
    else:
        harmless = isinstance(command, Reject) and not any(place.startswith("votes") for place in pause.unreadable)
    if not harmless:
        places = ", ".join(pause.unreadable)
        raise NotUnderstood(
            f"this version does not understand {places[:500]} of the pause, which a newer release has written:"
            " decide it there, or cancel it"
        )


def escalate(pause: Pause, now: datetime) -> tuple[Pause, tuple[Event, ...]]:
    """Add the voters of `review.escalate`, once."""
    if pause.status is not Status.PENDING or pause.escalated_at is not None or pause.review.escalate is None:
        return pause, ()
    escalated = replace(pause, escalated_at=now)
    return escalated, (Event("pause.escalated", escalated, now),)


def _given_more_time(pause: Pause, now: datetime) -> tuple[Pause, tuple[Event, ...]]:
    """Escalate, and extend the pause once by its original duration; it then expires."""
    assert pause.expires_at is not None, "the pause has run out of time"
    longer = now + (pause.expires_at - pause.created_at)
    pause = replace(pause, expires_at=longer, on_timeout=OnTimeout.EXPIRE)
    escalated, events = escalate(pause, now)
    return escalated, events or (Event("pause.extended", pause, now),)


def is_satisfied_by(pause: Pause, command: Command) -> bool:
    """Return whether the outcome of the pause is what the command asked for."""
    if isinstance(command, Timeout) or pause.decision is None:
        return True
    if pause.status not in TRANSITIONS[Status.PENDING, type(command)]:
        return False
    if isinstance(command, Approve) and command.arguments is not None:
        return canonical_json.digest(command.arguments) == pause.arguments_digest
    if isinstance(command, Approve | Reject) and command.response is not None:
        own = (vote.response for vote in pause.votes if vote.counts and vote.by.id == command.by.id)
        # Compare as JSON, because Python's True equals 1.
        return canonical_json.digest(command.response) == canonical_json.digest(next(own, pause.decision.response))
    return True


def _resolve(pause: Pause, command: Command, now: datetime) -> Pause:
    match command:
        case Approve() | Reject():
            check_revision(pause, command.revision)
            _check_answer(pause, command)
            if isinstance(command, Approve):
                pause = _edited(pause, command.arguments)
            (outcome,) = TRANSITIONS[Status.PENDING, type(command)]
            return _decided(pause, outcome, command, now)
        case Cancel():
            decision = Decision(Status.CANCELLED, command.by, now, command.comment)
        case Timeout():
            decision = Decision(ON_TIMEOUT[pause.on_timeout], Actor(SYSTEM, SYSTEM), now)
    return replace(pause, status=decision.outcome, decision=decision)


def _decided(pause: Pause, outcome: Status, command: Approve | Reject, now: datetime) -> Pause:
    decision = Decision(outcome, command.by, now, command.comment, command.response)
    return replace(pause, status=outcome, decision=decision)


def _check_answer(pause: Pause, command: Approve | Reject) -> None:
    approves = isinstance(command, Approve)
    # The answer of a step's rejection goes into its error_details.
    optional = pause.kind == STEP and not approves
    check_answer(pause.response_schema, command.response, required=approves, always_allowed=optional)


def _vote(
    pause: Pause, command: Approve | Reject, now: datetime, members: Sequence[Voter]
) -> tuple[Pause, tuple[Event, ...]]:
    voters = eligible_voters(pause, members)
    if _repeats_vote(pause, command, voters):
        return pause, ()
    check_revision(pause, command.revision)
    _check_answer(pause, command)
    edited = _edited(pause, command.arguments) if isinstance(command, Approve) else pause
    vote = Vote(
        by=command.by,
        approves=isinstance(command, Approve),
        at=now,
        revision=edited.revision,
        stage=pause.stage,
        comment=command.comment,
        response=command.response,
    )
    cast = (votes.cast if edited is pause else votes.edit)(voters, pause.votes, vote)
    result = votes.result(voters, cast)
    voted = replace(edited, votes=cast, stage=result.stage)
    if result.approved is None:
        return voted, (Event("pause.voted" if edited is pause else "pause.edited", voted, now),)
    resolved = _decided(voted, Status.APPROVED if result.approved else Status.REJECTED, command, now)
    return resolved, (Event(f"pause.{resolved.status}", resolved, now),)


def _repeats_vote(pause: Pause, command: Approve | Reject, voters: EligibleVoters) -> bool:
    """Return whether the command repeats this person's vote. A repeated edit names the revision before its own."""
    edit = command.arguments if isinstance(command, Approve) else None
    edited = (
        None if edit is None else votes.only_edited(voters, pause.votes, pause.stage, pause.revision, command.by.id)
    )
    before = votes.current_vote(pause.votes, command.by.id) or edited
    if before is None or before.approves is not isinstance(command, Approve):
        return False
    if command.response is not None and canonical_json.digest(command.response) != canonical_json.digest(
        before.response
    ):
        return False
    if edit is not None:
        return canonical_json.digest(edit) == pause.arguments_digest
    return command.revision in (None, pause.revision)


def eligible_voters(pause: Pause, members: Sequence[Voter]) -> EligibleVoters:
    """Return the members who may vote on this pause, at any of its stages."""
    others = tuple(member for member in members if not pause.is_own(member.id))
    return EligibleVoters(pause.review, others, pause.escalated_to)


def _edited(pause: Pause, arguments: dict[str, Any] | None) -> Pause:
    """Return the pause with these arguments and a new revision; unchanged if there are none or they are equal."""
    if arguments is None:
        return pause
    if pause.arguments is None:
        raise Invalid([FieldError("arguments", "cannot be edited: the agent posted none")])
    if pause.arguments_schema is not None:
        field_errors = list(json_schema.value_errors(pause.arguments_schema, arguments, "arguments"))
        if field_errors:
            raise Invalid(field_errors)
    digest = canonical_json.digest(arguments)
    if digest == pause.arguments_digest:
        return pause
    posted = pause.arguments if pause.posted_arguments is None else pause.posted_arguments
    edit = replace(pause, arguments=arguments, arguments_digest=digest, posted_arguments=posted)
    return replace(edit, revision=pause.revision + 1)


def check_revision(pause: Pause, revision: int | None) -> None:
    """Raise `RevisionRequired` or `RevisionChanged`.

    A decision without a revision means the first one: its sender may never have seen a later one.
    """
    if revision is None and pause.revision > 1:
        raise RevisionRequired
    if revision is not None and revision != pause.revision:
        raise RevisionChanged


def check_answer(
    schema: dict[str, Any] | None, response: object, *, required: bool, always_allowed: bool = False
) -> None:
    """Raise `Invalid` unless the response matches the schema.

    Args:
        always_allowed: accept a response although no schema asks for one.
    """
    if schema is None:
        if response is not None and not always_allowed:
            raise Invalid([FieldError("response", "is not asked for: the pause has no responseSchema")])
    elif response is None and required and any(json_schema.value_errors(schema, None, "response")):
        raise Invalid([FieldError("response", "is required: the pause has a responseSchema")])
    elif response is not None and (found := list(json_schema.value_errors(schema, response, "response"))):
        raise Invalid(found)
