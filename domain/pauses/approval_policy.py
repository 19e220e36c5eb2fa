"""The approval policy of a pause: the votes that it requires, in which order, and its reminders and escalation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.values import canonical_json, ids
from domain.values.errors import Invalid
from domain.values.field_reader import FieldErrors, FieldReader

# Each vote counts all votes again and matches them to people. People who vote do not come in hundreds.
MAX_APPROVALS = 20
MAX_STAGES = 10
MAX_REMINDERS = 10
# As long as a pause may last: ten years.
MAX_SECONDS = 3_650 * 86_400
MAX_NAME = 254


class RejectOn(StrEnum):
    """The number of rejections that reject the pause."""

    ANY = "any"
    MAJORITY = "majority"


@dataclass(frozen=True, slots=True)
class VoterSelection:
    """The voters that a policy names, by group, e-mail address or key id. If it names none, all who may decide vote."""

    groups: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        return {name: list(value) for name in self.__slots__ if (value := getattr(self, name))}

    def __or__(self, other: "VoterSelection") -> "VoterSelection":
        both = {name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name)))) for name in self.__slots__}
        return VoterSelection(**both)

    @property
    def anybody(self) -> bool:
        return not self.groups and not self.assignees

    @property
    def words(self) -> list[str]:
        """The selection in the words of the inbox's search."""
        return [f"group:{name}" for name in self.groups] + [f"person:{name}" for name in self.assignees]


ANYBODY = VoterSelection()


@dataclass(frozen=True, slots=True)
class Stage:
    approvals: int = 1
    voters: VoterSelection = ANYBODY
    reject_on: RejectOn = RejectOn.ANY
    name: str | None = None

    def document(self) -> dict[str, Any]:
        fields: dict[str, Any] = {} if self.name is None else {"name": self.name}
        fields |= {"approvals": self.approvals} | self.voters.document()
        return fields if self.reject_on is RejectOn.ANY else fields | {"reject_on": str(self.reject_on)}


_ONE_STAGE = (Stage(),)


@dataclass(frozen=True, slots=True)
class Escalation:
    """The voters to add after `after` seconds since the creation, or at the timeout if None (`onTimeout: escalate`)."""

    to: VoterSelection
    after: int | None = None

    def document(self) -> dict[str, Any]:
        after = {} if self.after is None else {"after": self.after}
        return after | {"to": self.to.document()}


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """
    Attributes:
        remind_after: seconds since the creation, ascending.
        plain: any one vote decides, so votes are neither stored nor counted.
    """

    stages: tuple[Stage, ...] = _ONE_STAGE
    allow_self: bool = False
    remind_after: tuple[int, ...] = ()
    escalate: Escalation | None = None
    plain: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.stages == _ONE_STAGE)

    def document(self) -> dict[str, Any]:
        """Return the policy as `parse` reads it, without keys that have their default."""
        if len(self.stages) == 1 and self.stages[0].name is None:
            fields = self.stages[0].document()
        else:
            fields = {"stages": [stage.document() for stage in self.stages]}
        if self.allow_self:
            fields["allow_self"] = True
        if self.remind_after:
            fields["remind_after"] = list(self.remind_after)
        if self.escalate is not None:
            fields["escalate"] = self.escalate.document()
        return fields


ONE_APPROVAL = ApprovalPolicy()


def parse(value: Mapping[str, Any] | None, path: str = "review") -> ApprovalPolicy:
    """Parse a policy. Raises `Invalid` with all errors, each with its place."""
    if value is None:
        return ONE_APPROVAL
    field_errors = FieldErrors()
    review = _read(field_errors, path, value)
    if field_errors.found:
        raise Invalid(field_errors.found)
    return review


def stored(value: object) -> tuple[ApprovalPolicy, tuple[str, ...]]:
    """Parse a stored policy as far as this version understands it, and return the places that it does not understand.

    A newer release may have written it. Such places may require more approvals, so the policy may approve nothing.
    """
    if value is None:
        return ONE_APPROVAL, ()
    field_errors = FieldErrors(stored=True)
    review = _read(field_errors, "review", value)
    return review, (*(field_error.path for field_error in field_errors.found), *(field_errors.unknown or ()))


def _read(field_errors: FieldErrors, path: str, value: object) -> ApprovalPolicy:
    with FieldReader(field_errors, path, value) as fields:
        return ApprovalPolicy(
            stages=_stages(fields),
            allow_self=bool(fields.yes("allow_self")),
            remind_after=_remind_after(fields),
            escalate=_escalation(fields),
        )


def _stages(fields: FieldReader) -> tuple[Stage, ...]:
    if not fields.raw("stages"):
        fields.items("stages")
        return (_stage(fields),)
    fields.refuse(("approvals", "groups", "assignees", "reject_on"), "is not valid beside stages: move it into them")
    found = list(fields.objects("stages"))
    if len(found) > MAX_STAGES:
        fields.field_error("stages", f"must be at most {MAX_STAGES}")
        return _ONE_STAGE
    stages = []
    for inner in found:
        with inner:
            stages.append(_stage(inner, name=inner.text("name", most=100)))
    return tuple(stages) or _ONE_STAGE


def _stage(fields: FieldReader, name: str | None = None) -> Stage:
    approvals = fields.whole("approvals", 1, MAX_APPROVALS)
    if approvals is None and fields.has("approvals") and fields.raw("approvals") is None:
        fields.field_error("approvals", f"is not a whole number from 1 to {MAX_APPROVALS}")
    return Stage(approvals or 1, _voters(fields), fields.one_of("reject_on", RejectOn) or RejectOn.ANY, name)


def _voters(fields: FieldReader) -> VoterSelection:
    groups, assignees = _list(fields, "groups"), _list(fields, "assignees")
    for assignee in assignees:
        if "@" not in assignee and ids.parse(ids.KEY, assignee) is None:
            fields.field_error(
                "assignees", f"{assignee[:100]!r} is neither an e-mail address nor the id of a key (key_…)"
            )
    # Addresses are stored in lower case.
    return VoterSelection(groups, tuple(assignee.lower() for assignee in assignees))


def _list(fields: FieldReader, name: str) -> tuple[str, ...]:
    found = fields.unique_texts(name)
    if any(len(text) > MAX_NAME for text in found):
        fields.field_error(name, f"must have names of at most {MAX_NAME} characters")
    return found


def _remind_after(fields: FieldReader) -> tuple[int, ...]:
    items = fields.items("remind_after")
    found = [seconds for each in items if (seconds := canonical_json.whole(each)) and 1 <= seconds <= MAX_SECONDS]
    if len(items) > MAX_REMINDERS or len(found) < len(items):
        fields.field_error("remind_after", f"must be a list of at most {MAX_REMINDERS} whole numbers of seconds")
        return ()
    return tuple(sorted(set(found)))


def _escalation(fields: FieldReader) -> Escalation | None:
    inner = fields.inner("escalate")
    if inner is None:
        return None
    with inner:
        after = inner.whole("after", 1, MAX_SECONDS)
        to = inner.inner("to", required=True)
        if to is None:
            return None
        with to:
            voters = _voters(to)
            if voters.anybody and to.is_object:
                inner.field_error("to", "is empty: give groups or assignees")
        return Escalation(voters, after)
