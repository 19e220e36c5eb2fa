"""Votes on a pause: who may cast one, what it counts for, and what all of them come to.

What they come to is never stored beside them: it follows from those that count, so a vote that is replaced or voided
takes all it has brought about with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from domain.pauses.approval_policy import ANYBODY, ApprovalPolicy, RejectOn, Stage, VoterSelection
from domain.values.errors import FieldError, NeededLater, NotEligible


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted: `id` is what counts, `name` is for people to read."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Voter:
    """Somebody who may decide in the namespace: an active person, or a usable key.

    Attributes:
        email, groups: of a person.
        delegate: the id of who votes for them now, while they are away.
    """

    id: str
    name: str
    email: str | None = None
    groups: tuple[str, ...] = ()
    delegate: str | None = None

    @property
    def actor(self) -> Actor:
        return Actor(self.id, self.name)


@dataclass(frozen=True, slots=True)
class Vote:
    """
    Attributes:
        on_behalf_of: who was asked, when `by` voted for them.
        revision: of the pause, that was voted on.
        counts: false once it was replaced by the same voter's other vote, or voided by an edit.
        more: what a newer release has written with it; kept as it is.
    """

    by: Actor
    approves: bool
    at: datetime
    revision: int
    stage: int = 0
    comment: str | None = None
    response: Any = None
    on_behalf_of: Actor | None = None
    counts: bool = True
    more: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def owner(self) -> str:
        """Whose vote it is: nobody has two."""
        return (self.on_behalf_of or self.by).id


@dataclass(frozen=True, slots=True)
class EligibleVoters:
    """Who may vote on one pause.

    Attributes:
        members: of the namespace, without those who may not decide this pause.
        escalated_to: asked beside those whom each stage names.
    """

    review: ApprovalPolicy
    members: tuple[Voter, ...]
    escalated_to: VoterSelection = ANYBODY

    def of(self, stage: Stage) -> Iterator[Voter]:
        return (member for member in self.members if self.asks(stage, member))

    def asks(self, stage: Stage, member: Voter) -> bool:
        return stage.asked.anybody or names(stage.asked, member) or names(self.escalated_to, member)


@dataclass(frozen=True, slots=True)
class Result:
    """`stage`: the first that is not complete; the last one when all are. `approved`: None while it is open."""

    stage: int
    approved: bool | None


def names(asked: VoterSelection, member: Voter) -> bool:
    """Whether the member is named; where nobody is, none is."""
    if member.email in asked.assignees or member.id in asked.assignees:
        return True
    return any(group in asked.groups for group in member.groups)


def is_asked(voters: EligibleVoters, stage: int, by: str) -> bool:
    """At that stage, also instead of somebody who is away; whether they have voted or not."""
    return whose(voters, voters.review.stages[stage], (), by) is not None


def approvals(votes: Sequence[Vote], stage: int) -> int:
    return sum(vote.counts and vote.approves and vote.stage == stage for vote in votes)


def standing(votes: Sequence[Vote], by: str) -> Vote | None:
    """The vote that this one would replace: one's own, by whoever's hand, or the one cast for another."""
    counting = [vote for vote in votes if vote.counts]
    own = (vote for vote in counting if vote.owner == by)
    return next((vote for vote in counting if vote.by.id == by), next(own, None))


def only_edited(voters: EligibleVoters, votes: Sequence[Vote], stage: int, revision: int, by: str) -> Vote | None:
    """The vote that does not count of one who made this revision, as long as they have none to cast."""
    made = (vote for vote in votes if vote.by.id == by and vote.approves and vote.revision == revision)
    return None if is_asked(voters, stage, by) else next(made, None)


def cast(voters: EligibleVoters, votes: tuple[Vote, ...], vote: Vote) -> tuple[Vote, ...]:
    """With the vote, where its voter is asked. Raises `NotEligible`, `NeededLater`."""
    before = standing(votes, vote.by.id)
    if before is not None:
        vote = _instead_of(voters, before, vote)
        return (*(replace(each, counts=False) if each is before else each for each in votes), vote)
    stage = voters.review.stages[vote.stage]
    owner = whose(voters, stage, votes, vote.by.id)
    if owner is None:
        raise NotEligible
    if owner.id != vote.by.id:
        vote = replace(vote, on_behalf_of=owner.actor)
    after = (*votes, vote)
    if vote.approves and _strands(voters, votes, after):
        raise NeededLater
    return after


def edit(voters: EligibleVoters, votes: tuple[Vote, ...], vote: Vote) -> tuple[Vote, ...]:
    """The vote of one who has changed what is voted on: the others were on something else and count no more.

    Whoever is asked now, or has voted, may change it. Their own vote counts in the first stage, where they are asked
    there; otherwise it is kept as one that does not. Raises `NotEligible`.
    """
    first = voters.review.stages[0]
    if not is_asked(voters, vote.stage, vote.by.id) and standing(votes, vote.by.id) is None:
        raise NotEligible
    voided = tuple(replace(each, counts=False) for each in votes)
    owner = whose(voters, first, voided, vote.by.id)
    if owner is None:
        return (*voided, replace(vote, counts=False))
    on_behalf_of = None if owner.id == vote.by.id else owner.actor
    after = (*voided, replace(vote, stage=0, on_behalf_of=on_behalf_of))
    if _strands(voters, voided, after):
        return (*voided, replace(vote, counts=False))
    return after


def _instead_of(voters: EligibleVoters, before: Vote, vote: Vote) -> Vote:
    """In the same stage, for the same person: as long as the voter is still asked there."""
    stage = voters.review.stages[before.stage]
    for_another = before.by.id == vote.by.id and before.on_behalf_of is not None
    owner = before.owner if for_another else vote.by.id
    asked = (member for member in voters.of(stage) if member.id == owner)
    if not any(member.id == vote.by.id or member.delegate == vote.by.id for member in asked):
        raise NotEligible
    return replace(vote, stage=before.stage, on_behalf_of=before.on_behalf_of if for_another else None)


def whose(voters: EligibleVoters, stage: Stage, votes: Sequence[Vote], by: str) -> Voter | None:
    """Whose vote `by` casts: their own, or else that of somebody who is away and has not voted."""
    voted = {vote.owner for vote in votes if vote.counts}
    asked = [member for member in voters.of(stage) if member.id not in voted]
    own = (member for member in asked if member.id == by)
    return next(own, next((member for member in asked if member.delegate == by), None))


def result(voters: EligibleVoters, votes: Sequence[Vote]) -> Result:
    for number, stage in enumerate(voters.review.stages):
        if _rejected(voters, votes, number, stage):
            return Result(number, approved=False)
        if approvals(votes, number) < stage.approvals:
            return Result(number, approved=None)
    return Result(len(voters.review.stages) - 1, approved=True)


def _rejected(voters: EligibleVoters, votes: Sequence[Vote], number: int, stage: Stage) -> bool:
    against = sum(vote.counts and not vote.approves and vote.stage == number for vote in votes)
    if against == 0 or stage.reject_on is RejectOn.ANY:
        return against > 0
    asked = list(voters.of(stage))
    voted = {vote.owner for vote in votes if vote.counts}
    left = sum(member.id not in voted for member in asked)
    return against * 2 > len(asked) or approvals(votes, number) + left < stage.approvals


def satisfiable(voters: EligibleVoters, votes: Sequence[Vote] = ()) -> bool:
    """Whether the stages can still be completed, each vote by another of the members who have none yet."""
    voted = {vote.owner for vote in votes if vote.counts}
    missing = [max(0, stage.approvals - approvals(votes, n)) for n, stage in enumerate(voters.review.stages)]
    total = sum(missing)
    seats: list[list[str]] = []
    for stage, needed in zip(voters.review.stages, missing, strict=True):
        free = [member.id for member in voters.of(stage) if member.id not in voted]
        # A stage with as many as there are votes missing in all finds one whatever the others take.
        seats += [free[:total]] * needed
    taken: dict[str, int] = {}
    return all(_seated(seats, number, taken, set()) for number in range(len(seats)))


def unmet(voters: EligibleVoters, place: str) -> tuple[FieldError, ...]:
    """What can never be met in the policy that stands there, of a review without votes; nothing: all of it can."""
    if satisfiable(voters):
        return ()
    stages = voters.review.stages
    field_errors = []
    for number, stage in enumerate(stages):
        if (there := sum(1 for _ in voters.of(stage))) < stage.approvals:
            where = place if len(stages) == 1 else f"{place}.stages[{number}]"
            named = ", ".join((*stage.asked.groups, *stage.asked.assignees))
            who = f"those it names ({named})" if named else "the namespace's reviewers"
            field_errors.append(
                FieldError(where, f"asks for {stage.approvals} approvals, and of {who} {there} may vote")
            )
    # Each vote is another one's, so stages that have enough people each may still have too few together.
    return tuple(field_errors) or (
        FieldError(f"{place}.stages", "nobody votes in two stages, and there are too few for all"),
    )


def _seated(seats: Sequence[Sequence[str]], number: int, taken: dict[str, int], tried: set[str]) -> bool:
    """Find somebody for the seat; who sits elsewhere already is asked over, if another can be found for there."""
    for member in seats[number]:
        if member in tried:
            continue
        tried.add(member)
        if member not in taken or _seated(seats, taken[member], taken, tried):
            taken[member] = number
            return True
    return False


def _strands(voters: EligibleVoters, before: Sequence[Vote], after: Sequence[Vote]) -> bool:
    """Whether the vote takes from a later stage the last one who could complete it."""
    if len(voters.review.stages) == 1 or result(voters, after).approved is not None:
        return False
    return not satisfiable(voters, after) and satisfiable(voters, before)
