"""Votes: who may cast one, what they come to, and the laws of all sequences of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.pauses.approval_policy import parse
from domain.pauses.pause import (
    Approve,
    Cancel,
    OnTimeout,
    Pause,
    Reject,
    Status,
    Timeout,
    decide,
    eligible_voters,
    is_satisfied_by,
)
from domain.pauses.votes import EligibleVoters, Vote, Voter, satisfiable, unmet
from domain.values import canonical_json
from domain.values.errors import NeededLater, NotEligible, RevisionChanged, SelfDecision

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREATOR = Voter("key_creator", "creator")
ANNE = Voter("usr_anne", "Anne", "anne@example.com", ("ops", "finance"))
BEN = Voter("usr_ben", "Ben", "ben@example.com", ("ops",))
CARA = Voter("usr_cara", "Cara", "cara@example.com", ("finance",))
DAN = Voter("usr_dan", "Dan", "dan@example.com")
KEY = Voter("key_" + "0b" * 16, "a reviewer's key")
ALL = (CREATOR, ANNE, BEN, CARA, DAN, KEY)


def held(review: dict[str, Any], **changes: Any) -> Pause:
    arguments = {"n": 0}
    pause = Pause(UUID(int=7), "default", "deploy", CREATOR.id, T0, arguments=arguments, review=parse(review))
    return replace(pause, arguments_digest=canonical_json.digest(arguments), **changes)


def votes(pause: Pause, *commands: Approve | Reject, members: tuple[Voter, ...] = ALL) -> Pause:
    for command in commands:
        pause, _ = decide(pause, command, T0, members)
    return pause


def yes(who: Voter, **more: Any) -> Approve:
    return Approve(who.actor, **more)


def no(who: Voter, **more: Any) -> Reject:
    return Reject(who.actor, **more)


def test_a_quorum() -> None:
    """The vote that completes it is the decision; the earlier ones are reported as votes."""
    pause, events = decide(held({"approvals": 2}), yes(ANNE, comment="fine"), T0, ALL)
    assert (pause.status, pause.decision, [event.type for event in events]) == (Status.PENDING, None, ["pause.voted"])
    assert is_satisfied_by(pause, yes(ANNE))
    pause, events = decide(pause, yes(KEY), T0, ALL)
    assert (pause.status, [event.type for event in events]) == (Status.APPROVED, ["pause.approved"])
    assert pause.decision is not None
    assert pause.decision.by == KEY.actor
    assert [(vote.by.id, vote.comment, vote.counts) for vote in pause.votes] == [
        (ANNE.id, "fine", True),
        (KEY.id, None, True),
    ]


def test_one_voter_is_one_voter() -> None:
    """However often they press."""
    pause = votes(held({"approvals": 2}), yes(ANNE))
    again, events = decide(pause, yes(ANNE), T0, ALL)
    assert again is pause
    assert events == ()


def test_a_vote_with_another_response_is_no_repeat() -> None:
    """It replaces the first vote, because the response is part of it."""
    pause = votes(held({"approvals": 2}, response_schema={}), yes(ANNE, response={"x": 1}))
    assert votes(pause, yes(ANNE, response={"x": 1.0})) is pause
    pause = votes(pause, yes(ANNE, response={"x": 2}))
    assert [(vote.response, vote.counts) for vote in pause.votes] == [({"x": 1}, False), ({"x": 2}, True)]


def test_one_rejection_rejects() -> None:
    """Whatever was said before."""
    pause = votes(held({"approvals": 3}), yes(ANNE), yes(BEN), no(CARA, comment="no"))
    assert pause.status is Status.REJECTED
    assert pause.decision is not None
    assert (pause.decision.by, pause.decision.comment) == (CARA.actor, "no")


def test_a_change_of_mind_replaces_the_vote() -> None:
    """As long as it is open; the earlier one is kept, and counts no more."""
    pause = votes(held({"approvals": 2, "reject_on": "majority"}), no(ANNE), yes(ANNE))
    assert [(vote.approves, vote.counts) for vote in pause.votes] == [(False, False), (True, True)]
    assert votes(pause, yes(BEN)).status is Status.APPROVED


def test_a_majority_rejects() -> None:
    """More than half of those who may vote: of five, three."""
    pause = votes(held({"approvals": 2, "reject_on": "majority"}), no(ANNE), no(BEN))
    assert pause.status is Status.PENDING
    assert votes(pause, no(CARA)).status is Status.REJECTED


def test_rejected_once_the_approvals_are_out_of_reach() -> None:
    """The pause does not wait for an approval that cannot come any more."""
    pause = votes(held({"approvals": 4, "reject_on": "majority"}), no(ANNE))
    assert pause.status is Status.PENDING
    assert votes(pause, no(BEN)).status is Status.REJECTED


@pytest.mark.parametrize(
    ("review", "asked"),
    [
        ({"groups": ["ops"]}, [ANNE, BEN]),
        ({"assignees": ["dan@example.com"]}, [DAN]),
        ({"assignees": [KEY.id]}, [KEY]),
        ({"groups": ["finance"], "assignees": ["dan@example.com"]}, [ANNE, CARA, DAN]),
        ({"reject_on": "majority"}, [ANNE, BEN, CARA, DAN, KEY]),
    ],
)
def test_only_eligible_voters_may_vote(review: dict[str, Any], asked: list[Voter]) -> None:
    """Neither way, and not by an edit."""
    for member in ALL[1:]:
        pause = held(review)
        if member in asked:
            assert votes(pause, yes(member)).status is Status.APPROVED
            continue
        for command in (yes(member), no(member), yes(member, arguments={"n": 1})):
            with pytest.raises(NotEligible):
                decide(pause, command, T0, ALL)


def test_who_is_no_member_may_not_vote() -> None:
    """A key that was revoked, a person who was disabled between the question and the vote."""
    with pytest.raises(NotEligible):
        votes(held({"approvals": 2}), yes(ANNE), members=(BEN, CARA))


def test_nobody_decides_their_own_unless_the_policy_says_so() -> None:
    """Also not by another's hand, nor for another."""
    stand_in = replace(CREATOR, delegate=DAN.id)
    for_creator = (stand_in, ANNE, replace(BEN, delegate=CREATOR.id), DAN)
    with pytest.raises(SelfDecision):
        votes(held({"approvals": 2}), yes(CREATOR))
    with pytest.raises(SelfDecision):
        votes(held({"groups": ["ops"]}), yes(CREATOR), members=for_creator)
    named = held({"assignees": [KEY.id, "anne@example.com"]}, created_by=KEY.id)
    with pytest.raises(NotEligible):
        votes(named, yes(DAN), members=(replace(KEY, delegate=DAN.id), ANNE, DAN))
    assert votes(held({"approvals": 2, "allow_self": True}), yes(CREATOR), yes(ANNE)).status is Status.APPROVED
    assert votes(held({"allow_self": True}), yes(CREATOR)).status is Status.APPROVED


def test_stages_follow_each_other() -> None:
    """Each stage has its own eligible voters, different from those of the stages before."""
    pause = held({"stages": [{"groups": ["ops"]}, {"groups": ["finance"]}]})
    assert pause.eligible == ["group:ops"]
    with pytest.raises(NotEligible):
        votes(pause, yes(CARA))
    pause = votes(pause, yes(BEN))
    assert (pause.status, pause.stage, pause.eligible) == (Status.PENDING, 1, ["group:finance"])
    with pytest.raises(NotEligible):
        votes(pause, yes(DAN))
    pause = votes(pause, yes(CARA))
    assert pause.status is Status.APPROVED
    assert [vote.stage for vote in pause.votes] == [0, 1]


def test_the_same_person_does_not_complete_two_stages() -> None:
    """Anne is of both groups; four eyes stay four."""
    pause = votes(held({"stages": [{"approvals": 1}, {"groups": ["finance"]}]}), yes(ANNE))
    assert votes(pause, yes(ANNE)) is pause
    assert votes(pause, yes(CARA)).status is Status.APPROVED


def test_the_last_one_of_a_later_stage_is_kept_for_it() -> None:
    """Otherwise the review could never be completed, without any sign of that."""
    pause = held({"stages": [{"approvals": 1}, {"assignees": ["dan@example.com"]}]})
    with pytest.raises(NeededLater):
        votes(pause, yes(DAN))
    assert votes(pause, no(DAN)).status is Status.REJECTED
    assert votes(pause, yes(ANNE), yes(DAN)).status is Status.APPROVED


def test_a_change_of_mind_takes_the_stage_back() -> None:
    """A stage that the vote reached is not reached without it."""
    stages = [{"approvals": 1, "groups": ["ops"], "reject_on": "majority"}, {"groups": ["finance"]}]
    pause = votes(held({"stages": stages}), yes(ANNE))
    assert pause.stage == 1
    pause = votes(pause, no(ANNE))
    assert (pause.status, pause.stage) == (Status.PENDING, 0)
    assert votes(pause, yes(BEN), yes(CARA)).status is Status.APPROVED


def test_an_edit_voids_the_votes_before() -> None:
    """They were on something else; the editor's own is the first on the new one."""
    pause = votes(held({"approvals": 2}), yes(ANNE), yes(BEN, arguments={"n": 1}))
    assert (pause.status, pause.revision, pause.arguments) == (Status.PENDING, 2, {"n": 1})
    assert [(vote.by.id, vote.revision, vote.counts) for vote in pause.votes] == [
        (ANNE.id, 1, False),
        (BEN.id, 2, True),
    ]
    with pytest.raises(RevisionChanged):
        votes(pause, yes(CARA, revision=1))
    assert votes(pause, yes(ANNE, revision=2)).status is Status.APPROVED


def test_an_edit_goes_back_to_the_first_stage() -> None:
    """Its voters have not seen the new arguments. An editor from another stage has not voted in it."""
    pause = votes(held({"stages": [{"groups": ["ops"]}, {"groups": ["finance"]}]}), yes(BEN))
    pause, events = decide(pause, yes(CARA, arguments={"n": 1}), T0, ALL)
    assert (pause.stage, [event.type for event in events]) == (0, ["pause.edited"])
    assert [vote.counts for vote in pause.votes] == [False, False]
    assert votes(pause, yes(BEN, revision=2), yes(CARA, revision=2)).status is Status.APPROVED


def test_an_edit_leaves_its_editor_for_the_stage_that_needs_them() -> None:
    """Anne may vote in both stages, and the second one has no other voter. Her edit therefore casts no vote."""
    pause = held({"stages": [{"groups": ["ops"]}, {"assignees": ["anne@example.com"]}]})
    pause = votes(pause, yes(ANNE, arguments={"n": 1}))
    assert (pause.status, pause.stage, pause.arguments) == (Status.PENDING, 0, {"n": 1})
    assert [(vote.by.id, vote.counts) for vote in pause.votes] == [(ANNE.id, False)]
    assert votes(pause, yes(BEN, revision=2), yes(ANNE, revision=2)).status is Status.APPROVED


def test_an_edit_that_is_repeated_changes_nothing() -> None:
    """The answer to the first was lost: the second names the revision that was read before the edit."""
    edit = yes(ANNE, arguments={"n": 1}, revision=1)
    pause = votes(held({"approvals": 2}), edit)
    assert votes(pause, edit) is pause
    with pytest.raises(RevisionChanged):
        votes(pause, yes(BEN, arguments={"n": 1}, revision=1))


def test_who_is_away_votes_by_a_delegate() -> None:
    """It is written down for whom; and it is one vote, whoever casts it."""
    members = (replace(ANNE, delegate=DAN.id), BEN, DAN)
    pause = votes(held({"approvals": 2, "groups": ["ops"]}), yes(DAN), members=members)
    (vote,) = pause.votes
    assert (vote.by, vote.on_behalf_of) == (DAN.actor, ANNE.actor)
    assert votes(pause, yes(DAN), members=members) is pause
    back = votes(pause, no(ANNE), members=(ANNE, BEN, DAN))
    assert back.status is Status.REJECTED
    assert votes(pause, yes(ANNE), members=members) is pause
    assert votes(pause, yes(BEN), members=members).status is Status.APPROVED


def test_a_delegate_has_one_vote() -> None:
    """An eligible delegate casts their own vote, and never a second one for another person."""
    members = (replace(ANNE, delegate=BEN.id), BEN, replace(CARA, delegate=DAN.id), replace(DAN, groups=()))
    own = votes(held({"approvals": 2, "groups": ["ops"]}), yes(BEN), members=members)
    assert own.votes[0].on_behalf_of is None
    assert votes(own, yes(BEN), members=members) is own
    two = (replace(ANNE, delegate=DAN.id), replace(BEN, delegate=DAN.id), DAN)
    pause = votes(held({"approvals": 2, "groups": ["ops"]}), yes(DAN), members=two)
    assert votes(pause, yes(DAN), members=two) is pause


def test_a_delegate_whose_time_is_over_cannot_change_the_vote() -> None:
    """The one who is back can."""
    pause = votes(
        held({"approvals": 2, "groups": ["ops"]}), yes(DAN), members=(replace(ANNE, delegate=DAN.id), BEN, DAN)
    )
    with pytest.raises(NotEligible):
        votes(pause, no(DAN), members=(ANNE, BEN, DAN))
    with pytest.raises(NotEligible):
        # Anne has voted herself: there is nothing left to vote for her.
        votes(
            votes(held({"approvals": 2, "groups": ["ops"]}), yes(ANNE)),
            yes(DAN),
            members=(replace(ANNE, delegate=DAN.id), BEN, DAN),
        )


ESCALATING = {"groups": ["ops"], "escalate": {"to": {"assignees": ["dan@example.com"]}}}


def test_time_that_runs_out_escalates_once() -> None:
    """The review is open for as long again, to more people; then it expires."""
    pause = held(ESCALATING, expires_at=T0 + timedelta(hours=1), on_timeout=OnTimeout.ESCALATE)
    later = T0 + timedelta(hours=1)
    escalated, events = decide(pause, Timeout(), later, ALL)
    assert (escalated.status, [event.type for event in events]) == (Status.PENDING, ["pause.escalated"])
    assert (escalated.escalated_at, escalated.expires_at) == (later, later + timedelta(hours=1))
    assert escalated.eligible == ["group:ops", "person:dan@example.com"]
    assert decide(escalated, Timeout(), later, ALL) == (escalated, ())
    assert votes(escalated, yes(DAN)).status is Status.APPROVED
    expired, events = decide(escalated, Timeout(), later + timedelta(hours=1), ALL)
    assert (expired.status, [event.type for event in events]) == (Status.EXPIRED, ["pause.expired"])


def test_who_comes_before_the_sweep_finds_it_escalated() -> None:
    """Whether the sweep has run in time makes no difference."""
    pause = held(ESCALATING, expires_at=T0 + timedelta(hours=1), on_timeout=OnTimeout.ESCALATE)
    approved, events = decide(pause, yes(DAN), T0 + timedelta(hours=1), ALL)
    assert approved.status is Status.APPROVED
    assert [event.type for event in events] == ["pause.escalated", "pause.approved"]
    cancelled, _ = decide(pause, Cancel(CREATOR.actor), T0 + timedelta(hours=1), ALL)
    assert cancelled.status is Status.CANCELLED


def test_escalated_before_it_still_gets_its_second_span() -> None:
    """No second event reports an escalation."""
    at = T0 + timedelta(minutes=5)
    pause = held(ESCALATING, expires_at=T0 + timedelta(hours=1), on_timeout=OnTimeout.ESCALATE, escalated_at=at)
    longer, events = decide(pause, Timeout(), T0 + timedelta(hours=1), ALL)
    assert (longer.escalated_at, longer.expires_at) == (at, T0 + timedelta(hours=2))
    assert [event.type for event in events] == ["pause.extended"]


@pytest.mark.parametrize(
    ("review", "possible"),
    [
        ({"approvals": 5}, True),
        ({"approvals": 6}, False),
        ({"approvals": 6, "allow_self": True}, True),
        ({"groups": ["ops"], "approvals": 2}, True),
        ({"groups": ["ops"], "approvals": 3}, False),
        ({"groups": ["nobody"]}, False),
        ({"assignees": ["nobody@example.com"]}, False),
        ({"stages": [{"groups": ["ops"], "approvals": 2}, {"groups": ["finance"]}]}, True),
        ({"stages": [{"groups": ["ops"], "approvals": 2}, {"groups": ["finance"], "approvals": 2}]}, False),
        ({"stages": [{"groups": ["finance"]}, {"groups": ["ops"]}, {"assignees": ["anne@example.com"]}]}, True),
        (
            {"stages": [{"groups": ["ops"]}, {"assignees": ["anne@example.com", "ben@example.com"], "approvals": 2}]},
            False,
        ),
        ({"stages": [{"approvals": 3}, {"groups": ["ops"], "approvals": 2}]}, True),
        ({"stages": [{"approvals": 4}, {"groups": ["ops"], "approvals": 2}]}, False),
    ],
)
def test_whether_a_policy_can_be_met(review: dict[str, Any], possible: bool) -> None:
    """Each vote needs a different person, found by matching and not by counting: three are in two groups."""
    assert satisfiable(eligible_voters(held(review), ALL)) is possible


MEMBERS = (
    CREATOR,
    ANNE,
    replace(BEN, delegate=DAN.id),
    replace(CARA, delegate=ANNE.id),
    DAN,
    KEY,
)
policies = st.sampled_from(
    [
        {"approvals": 2},
        {"approvals": 3, "reject_on": "majority"},
        {"approvals": 2, "groups": ["ops"]},
        {"approvals": 2, "groups": ["ops", "finance"], "reject_on": "majority"},
        {"stages": [{"groups": ["ops"]}, {"groups": ["finance"]}]},
        {"stages": [{"approvals": 2, "reject_on": "majority"}, {"groups": ["finance"]}]},
        {"approvals": 2, "allow_self": True},
    ]
)
someone = st.sampled_from(MEMBERS)


class VotesMachine(RuleBasedStateMachine):
    """Anybody votes, edits and repeats themselves; people go away and come back."""

    @initialize(review=policies)
    def start(self, review: dict[str, Any]) -> None:
        self.pause = held(review)
        self.members = ALL
        self.outcomes: list[str] = []

    @rule(away=st.booleans())
    def people_come_and_go(self, away: bool) -> None:
        self.members = MEMBERS if away else ALL

    @rule(by=someone, arguments=st.sampled_from([None, {"n": 1}, {"n": 2}]), revision=st.sampled_from([None, 1, 2]))
    def approve(self, by: Voter, arguments: dict[str, Any] | None, revision: int | None) -> None:
        self.vote(yes(by, arguments=arguments, revision=revision))

    @rule(by=someone)
    def reject(self, by: Voter) -> None:
        self.vote(no(by))

    @precondition(lambda self: self.pause.votes)
    @rule()
    def the_last_one_again(self) -> None:
        last = self.pause.votes[-1]
        before = self.pause
        if last.counts:
            self.vote(Approve(last.by) if last.approves else Reject(last.by))
            assert self.pause is before

    def vote(self, command: Approve | Reject) -> None:
        before = self.pause
        try:
            self.pause, events = decide(before, command, T0, self.members)
        except (SelfDecision, NotEligible, NeededLater, RevisionChanged):
            return
        assert (self.pause != before) is bool(events)
        if before.status is not Status.PENDING:
            assert self.pause is before
        self.outcomes += [event.type for event in events if event.type in ("pause.approved", "pause.rejected")]
        if self.pause.revision != before.revision:
            assert not any(vote.counts for vote in self.pause.votes[:-1])

    @property
    def counting(self) -> list[Vote]:
        return [vote for vote in self.pause.votes if vote.counts]

    @invariant()
    def one_decision(self) -> None:
        assert len(self.outcomes) == (self.pause.status is not Status.PENDING)

    @invariant()
    def nobody_counts_twice(self) -> None:
        """A person counts at most once as the owner of a vote, and at most once as its caster."""
        assert len({vote.owner for vote in self.counting}) == len(self.counting)
        assert len({vote.by.id for vote in self.counting}) == len(self.counting)

    @invariant()
    def only_votes_on_what_it_is_now_count(self) -> None:
        assert all(vote.revision == self.pause.revision for vote in self.counting)

    @invariant()
    def approved_only_by_enough_eligible_voters(self) -> None:
        if self.pause.status is not Status.APPROVED:
            return
        voters = EligibleVoters(self.pause.review, eligible_voters(self.pause, ALL).members)
        for number, stage in enumerate(self.pause.review.stages):
            asked = {member.id for member in voters.of(stage)}
            approving = {vote.owner for vote in self.counting if vote.approves and vote.stage == number}
            assert len(approving & asked) >= stage.approvals
            assert len(approving) == stage.approvals

    @invariant()
    def a_rejection_that_must_reject_does(self) -> None:
        first = self.pause.review.stages[0]
        if first.reject_on == "any" and any(not vote.approves for vote in self.counting):
            assert self.pause.status is Status.REJECTED


# 100 runs of 15 votes and edits take about 2 s of one core.
VotesMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=15, deadline=None, database=None)
TestVotesMachine = VotesMachine.TestCase


@pytest.mark.parametrize(
    ("review", "errors"),
    [
        ({"approvals": 3}, []),
        (
            {"approvals": 9},
            [("review", "requires 9 approvals, but only 5 of the namespace's reviewers may vote")],
        ),
        (
            {"approvals": 2, "groups": ["legal"], "assignees": ["dan@example.com"]},
            [("review", "requires 2 approvals, but only 1 of the named voters (legal, dan@example.com) may vote")],
        ),
        (
            {"stages": [{"groups": ["ops"]}, {"groups": ["legal"]}]},
            [("review.stages[1]", "requires 1 approvals, but only 0 of the named voters (legal) may vote")],
        ),
        (
            {"stages": [{"groups": ["ops"], "approvals": 2}, {"assignees": ["anne@example.com"]}]},
            [("review.stages", "need more voters in total, because a person votes in one stage only")],
        ),
    ],
)
def test_a_policy_that_can_never_be_satisfied(review: dict[str, Any], errors: list[tuple[str, str]]) -> None:
    voters = EligibleVoters(parse(review), ALL[1:])
    assert [(field_error.path, field_error.message) for field_error in unmet(voters, "review")] == errors
