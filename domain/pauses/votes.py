"""Votes on a pause: who may cast one, in which stage it counts, and the result of all votes.

The result is never stored. It follows from the votes that count, so a replaced or voided vote loses all its effect.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from domain.pauses.approval_policy import ANYBODY, ApprovalPolicy, RejectOn, Stage, VoterSelection
from domain.values.errors import FieldError, NeededLater, NotEligible


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or key that acted. `id` identifies it; `name` is for people to read.

    Attributes:
        auth: how they authenticated (`domain.identity.access.Authentication`); None if it is unknown.
    """

    id: str
    name: str
    auth: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Voter:
    """An active person or a usable key that may decide in the namespace.

    Attributes:
        email: set only for a person.
        groups: set only for a person.
        delegate: the id of the person's delegate, who votes for them while they are away.
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
        on_behalf_of: the eligible voter, if `by` voted as their delegate.
        revision: the pause's revision at the vote.
        counts: false after the voter's next vote replaced it, or an edit voided it.
        more: further fields of a newer release, kept as they are.
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
        """The id of the eligible voter, who has at most one vote that counts."""
        return (self.on_behalf_of or self.by).id


@dataclass(frozen=True, slots=True)
class EligibleVoters:
    """The eligible voters of one pause.

    Attributes:
        members: the voters of the namespace, without those who may not decide this pause.
        escalated_to: voters that the escalation adds to every stage.
    """

    review: ApprovalPolicy
    members: tuple[Voter, ...]
    escalated_to: VoterSelection = ANYBODY

    def of(self, stage: Stage) -> Iterator[Voter]:
        return (member for member in self.members if self.includes(stage, member))

    def includes(self, stage: Stage, member: Voter) -> bool:
        return stage.voters.anybody or names(stage.voters, member) or names(self.escalated_to, member)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of the votes. `approved` is None while the pause is open.

    `stage` is the first stage that is not complete, or the last one if all are.
    """

    stage: int
    approved: bool | None


def names(selection: VoterSelection, member: Voter) -> bool:
    """Return whether the selection names the member. An empty selection names no member."""
    if member.email in selection.assignees or member.id in selection.assignees:
        return True
    return any(group in selection.groups for group in member.groups)


def is_eligible(voters: EligibleVoters, stage: int, by: str) -> bool:
    """Return whether `by` may vote in that stage, for themselves or as a delegate, even if they have voted."""
    return voter_for(voters, voters.review.stages[stage], (), by) is not None


def approvals(votes: Sequence[Vote], stage: int) -> int:
    return sum(vote.counts and vote.approves and vote.stage == stage for vote in votes)


def current_vote(votes: Sequence[Vote], by: str) -> Vote | None:
    """Return the vote that a new one would replace: the one that `by` cast last, or their own that a delegate cast."""
    counting = [vote for vote in votes if vote.counts]
    own = (vote for vote in counting if vote.owner == by)
    return next((vote for vote in counting if vote.by.id == by), next(own, None))


def only_edited(voters: EligibleVoters, votes: Sequence[Vote], stage: int, revision: int, by: str) -> Vote | None:
    """Return the vote of the editor who made this revision, if it does not count because they may not vote."""
    edits = (vote for vote in votes if vote.by.id == by and vote.approves and vote.revision == revision)
    return None if is_eligible(voters, stage, by) else next(edits, None)


def cast(voters: EligibleVoters, votes: tuple[Vote, ...], vote: Vote) -> tuple[Vote, ...]:
    """Return the votes with the new one. Raises `NotEligible`, `NeededLater`."""
    before = current_vote(votes, vote.by.id)
    if before is not None:
        vote = _instead_of(voters, before, vote)
        return (*(replace(each, counts=False) if each is before else each for each in votes), vote)
    stage = voters.review.stages[vote.stage]
    owner = voter_for(voters, stage, votes, vote.by.id)
    if owner is None:
        raise NotEligible
    if owner.id != vote.by.id:
        vote = replace(vote, on_behalf_of=owner.actor)
    after = (*votes, vote)
    if vote.approves and _strands(voters, votes, after):
        raise NeededLater
    return after


def edit(voters: EligibleVoters, votes: tuple[Vote, ...], vote: Vote) -> tuple[Vote, ...]:
    """Return the votes after an edit of the pause by `vote.by`. The other votes were on the old content and are voided.

    Eligible voters of this stage and people who have voted may edit. The editor's own vote counts in the first stage if
    they are eligible there. Otherwise it is stored but does not count. Raises `NotEligible`.
    """
    first = voters.review.stages[0]
    if not is_eligible(voters, vote.stage, vote.by.id) and current_vote(votes, vote.by.id) is None:
        raise NotEligible
    voided = tuple(replace(each, counts=False) for each in votes)
    owner = voter_for(voters, first, voided, vote.by.id)
    if owner is None:
        return (*voided, replace(vote, counts=False))
    on_behalf_of = None if owner.id == vote.by.id else owner.actor
    after = (*voided, replace(vote, stage=0, on_behalf_of=on_behalf_of))
    if _strands(voters, voided, after):
        return (*voided, replace(vote, counts=False))
    return after


def _instead_of(voters: EligibleVoters, before: Vote, vote: Vote) -> Vote:
    """Return the new vote in the stage and for the person of the old one. Raises `NotEligible` if that has changed."""
    stage = voters.review.stages[before.stage]
    for_another = before.by.id == vote.by.id and before.on_behalf_of is not None
    owner = before.owner if for_another else vote.by.id
    eligible = (member for member in voters.of(stage) if member.id == owner)
    if not any(member.id == vote.by.id or member.delegate == vote.by.id for member in eligible):
        raise NotEligible
    return replace(vote, stage=before.stage, on_behalf_of=before.on_behalf_of if for_another else None)


def voter_for(voters: EligibleVoters, stage: Stage, votes: Sequence[Vote], by: str) -> Voter | None:
    """Return the voter whose vote `by` may cast: themselves, or a delegating voter who has not voted."""
    voted = {vote.owner for vote in votes if vote.counts}
    eligible = [member for member in voters.of(stage) if member.id not in voted]
    own = (member for member in eligible if member.id == by)
    return next(own, next((member for member in eligible if member.delegate == by), None))


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
    eligible = list(voters.of(stage))
    voted = {vote.owner for vote in votes if vote.counts}
    left = sum(member.id not in voted for member in eligible)
    return against * 2 > len(eligible) or approvals(votes, number) + left < stage.approvals


def satisfiable(voters: EligibleVoters, votes: Sequence[Vote] = ()) -> bool:
    """Return whether the remaining members can still complete the stages, each with one vote."""
    voted = {vote.owner for vote in votes if vote.counts}
    missing = [max(0, stage.approvals - approvals(votes, n)) for n, stage in enumerate(voters.review.stages)]
    total = sum(missing)
    candidates: list[list[str]] = []
    for stage, needed in zip(voters.review.stages, missing, strict=True):
        free = [member.id for member in voters.of(stage) if member.id not in voted]
        # A stage with `total` candidates always finds one, whichever the other stages take.
        candidates += [free[:total]] * needed
    assigned: dict[str, int] = {}
    return all(_assign(candidates, number, assigned, set()) for number in range(len(candidates)))


def unmet(voters: EligibleVoters, place: str) -> tuple[FieldError, ...]:
    """Return the errors of a policy that can never be satisfied, at `place`, or none if it can."""
    if satisfiable(voters):
        return ()
    stages = voters.review.stages
    field_errors = []
    for number, stage in enumerate(stages):
        if (there := sum(1 for _ in voters.of(stage))) < stage.approvals:
            where = place if len(stages) == 1 else f"{place}.stages[{number}]"
            named = ", ".join((*stage.voters.groups, *stage.voters.assignees))
            who = f"the named voters ({named})" if named else "the namespace's reviewers"
            field_errors.append(
                FieldError(where, f"requires {stage.approvals} approvals, but only {there} of {who} may vote")
            )
    # A person votes in one stage only, so each stage may have enough voters and all stages together too few.
    return tuple(field_errors) or (
        FieldError(f"{place}.stages", "need more voters in total, because a person votes in one stage only"),
    )


def _assign(candidates: Sequence[Sequence[str]], number: int, assigned: dict[str, int], tried: set[str]) -> bool:
    """Assign a member to the missing vote `number`. Reassign another vote's member if that vote has an alternative."""
    for member in candidates[number]:
        if member in tried:
            continue
        tried.add(member)
        if member not in assigned or _assign(candidates, assigned[member], assigned, tried):
            assigned[member] = number
            return True
    return False


def _strands(voters: EligibleVoters, before: Sequence[Vote], after: Sequence[Vote]) -> bool:
    """Return whether the vote uses up the last voter who could complete a later stage."""
    if len(voters.review.stages) == 1 or result(voters, after).approved is not None:
        return False
    return not satisfiable(voters, after) and satisfiable(voters, before)
