"""Schemas of pauses. Those of responses are documentation, and tests compare real responses with them."""

from datetime import timedelta
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from app.schemas.executions import ConsumptionSchema
from app.schemas.fields import (
    Count,
    Instant,
    PageQuery,
    ShortList,
    TrueOrFalse,
    Whole,
    YesOrNo,
    between,
    matches,
    namespace,
    one_of,
    page_of,
    revision,
    small,
    text,
)
from domain.pauses.consumption import (
    MAX_OUTCOME_WITHIN,
    MAX_VALID_FOR,
    MIN_OUTCOME_WITHIN,
    MISSING,
    OUTCOME_WITHIN,
    ExecutionStatus,
)
from domain.pauses.creation import MAX_EXPIRY
from domain.pauses.door import PATTERN as DOOR_PATTERN
from domain.pauses.pause import OnTimeout, Status
from domain.values import ids

# Pauses that one request waits for.
MAX_IDS = 100
_TAG = "^[^\\s,]{1,64}$"
_REVIEW = "who has to agree (docs/reviews.md); default: the namespace's policy, else one approval by any reviewer"
NOT_EXECUTED = "are not executed when the decision is to reject"
_STATUSES = [str(status) for status in Status]


class PauseDraftSchema(Schema):
    action = text(1, 500, required=True, metadata={"description": "what the agent wants to do"})
    context = fields.Dict(allow_none=True, metadata={"description": "whatever helps the reviewer"})
    arguments = fields.Dict(
        allow_none=True,
        metadata={"description": "exactly what will be executed; if present a reviewer may edit it"},
    )
    arguments_schema = fields.Dict(
        data_key="argumentsSchema",
        allow_none=True,
        metadata={"description": "JSON Schema of the arguments, which a reviewer edits by it, and an edit has to fit"},
    )
    callback_url = fields.String(
        data_key="callbackUrl",
        allow_none=True,
        validate=validate.Length(1, 2048),
        metadata={"description": "http(s) URL that gets the signed webhook with the outcome", "format": "uri"},
    )
    expires_in = Whole(
        data_key="expiresIn",
        allow_none=True,
        validate=between(1, int(MAX_EXPIRY / timedelta(seconds=1))),
        error_messages={"invalid": "Not a whole number of seconds, like 3600 for an hour."},
        metadata={"description": "seconds; null = never; default from settings (24 h)"},
    )
    expires_at = Instant(data_key="expiresAt", allow_none=True)
    on_timeout = one_of(
        OnTimeout,
        data_key="onTimeout",
        metadata={"description": "default: expire; `approve` only where the namespace allows it"},
    )
    review = fields.Dict(allow_none=True, metadata={"description": _REVIEW})
    response_schema = fields.Dict(
        data_key="responseSchema",
        allow_none=True,
        metadata={"description": "JSON Schema of what the approver must answer"},
    )
    namespace = namespace()
    priority = Whole(load_default=0, validate=between(0, 9))
    tags = ShortList(
        fields.String(validate=matches(_TAG, "1 to 64 characters without blanks and commas")), 0, 20, load_default=[]
    )
    metadata = fields.Dict(allow_none=True, metadata={"description": "yours; comes back as it is"})
    external_id = text(
        1, 200, data_key="externalId", allow_none=True, metadata={"description": "your own name for it, to find it by"}
    )
    approval_valid_for = Whole(
        data_key="approvalValidFor",
        allow_none=True,
        validate=between(1, MAX_VALID_FOR),
        metadata={
            "description": "The seconds after the decision in which the approval may be used. Null means no limit."
            " The namespace's value is the default and the upper limit.",
            "example": 900,
        },
    )
    outcome_within = Whole(
        data_key="outcomeWithin",
        allow_none=True,
        validate=between(MIN_OUTCOME_WITHIN, MAX_OUTCOME_WITHIN),
        metadata={
            "description": "The seconds after the use until a missing outcome needs a look. Null means the default,"
            f" {OUTCOME_WITHIN}.",
            "example": OUTCOME_WITHIN,
        },
    )

    @post_load
    def _immutable(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return data | {"tags": tuple(data["tags"])}

    @validates_schema
    def _one_expiry(self, data: dict[str, Any], **_: Any) -> None:
        if "expires_in" in data and "expires_at" in data:
            raise ValidationError("Give either expiresIn or expiresAt.", "expiresAt")


class RejectSchema(Schema):
    comment = text(0, 10_000, allow_none=True)
    response = fields.Raw(
        allow_none=True, validate=small, metadata={"description": "as the pause's responseSchema asks"}
    )
    revision = revision()


class ApproveSchema(RejectSchema):
    decision = fields.String(load_default="approve", validate=validate.OneOf(["approve", "reject"]))
    arguments = fields.Dict(
        allow_none=True, validate=small, metadata={"description": "execute this instead of what the agent posted"}
    )


class CancelSchema(Schema):
    comment = text(0, 10_000, allow_none=True)


class ClaimSchema(Schema):
    take_over = YesOrNo(
        data_key="takeOver", load_default=False, metadata={"description": "replace another reviewer's claim"}
    )


class UnclaimSchema(Schema):
    pass


class ItemSchema(RejectSchema):
    watch_id = fields.String(data_key="watchId", required=True, validate=validate.Length(1, 64))
    decision = fields.String(required=True, validate=validate.OneOf(["approve", "reject"]))
    arguments = fields.Dict(
        allow_none=True, validate=small, metadata={"description": "execute this instead of what the agent posted"}
    )

    @validates_schema
    def _only_an_approval_edits(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("decision") == "reject" and data.get("arguments") is not None:
            raise ValidationError(NOT_EXECUTED, "arguments")


class DecisionsSchema(Schema):
    items = ShortList(fields.Nested(ItemSchema), 1, 100, required=True)


class PauseQuery(Schema):
    wait = Count(
        load_default=0,
        validate=between(0, 60),
        metadata={"description": "hold the answer until the pause is resolved, or this many seconds"},
    )


class PauseListQuery(PageQuery):
    status = one_of(Status)
    namespace = namespace()
    kind = fields.String(validate=validate.OneOf(["agent", "step"]))
    tag = fields.String(validate=validate.Length(1, 64))
    text = fields.String(data_key="q", validate=validate.Length(1, 200), metadata={"description": "part of the action"})
    created_after = Instant()
    created_before = Instant()
    decided = TrueOrFalse(
        load_default=False,
        metadata={"description": "only what waits no more, the latest decision first; so with each `decided_…`"},
    )
    decided_by = fields.String(
        validate=validate.Length(1, 200),
        metadata={
            "description": "who decided or voted: an id, a whole name, or `me`; `system` is when time ran out",
            "example": "me",
        },
    )
    decided_after = Instant()
    decided_before = Instant()
    external_id = fields.String(data_key="externalId", validate=validate.Length(1, 200))
    door = fields.String(
        validate=matches(DOOR_PATTERN, "1 to 40 lowercase letters, digits and hyphens"),
        metadata={"description": "Only pauses with this `metadata.door`, the client of the agent.", "example": "mcp"},
    )
    consumed = TrueOrFalse(
        metadata={
            "description": "Only pauses whose approval is used (`true`) or not used (`false`)."
            " With `status=approved`, `false` lists the approvals that you have not used yet."
        }
    )
    outcome = fields.String(
        validate=validate.OneOf([MISSING, *map(str, ExecutionStatus)]),
        metadata={"description": "Only used approvals with this reported outcome; `missing`: the report is overdue."},
    )
    ids = fields.List(
        fields.String(),
        metadata={"description": "only these, in this order: with commas between, or repeated; up to 100"},
    )
    wait = Count(
        validate=validate.Range(0, 60),
        metadata={"description": "with ids: hold the answer until one of them is resolved, or this many seconds"},
    )

    @post_load
    def _ids(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "ids" in data:
            parts = [part for each in data["ids"] for part in each.split(",")]
            if not 1 <= len(parts) <= MAX_IDS:
                raise ValidationError(f"Between 1 and {MAX_IDS} ids.", "ids")
            data["ids"] = [ids.parse(ids.WATCH, part) for part in parts]
            if None in data["ids"]:
                raise ValidationError("Not the ids of pauses (wch_…), with commas between.", "ids")
            if not data.keys() <= {"ids", "wait", "limit", "offset", "decided"} or data["offset"] or data["decided"]:
                raise ValidationError("These name the pauses: give no filter with them.", "ids")
        elif "wait" in data:
            raise ValidationError("Needs ids: of which pauses.", "wait")
        return data


class ActorSchema(Schema):
    id = fields.String(required=True)
    name = fields.String(required=True)


class VoteSchema(Schema):
    outcome = fields.String(required=True, validate=validate.OneOf(["approved", "rejected"]))
    by = fields.String(required=True)
    byName = fields.String(required=True)
    at = fields.AwareDateTime(required=True)
    comment = fields.String(required=True, allow_none=True)
    response = fields.Raw(required=True, allow_none=True)
    revision = fields.Integer(required=True, metadata={"description": "what was voted on"})
    stage = fields.Integer(required=True, metadata={"description": "from 0"})
    onBehalfOf = fields.Nested(
        ActorSchema, required=True, allow_none=True, metadata={"description": "the voter who is away"}
    )
    counts = fields.Boolean(required=True, metadata={"description": "false: replaced, or voided by an edit"})


class DecisionSchema(Schema):
    outcome = fields.String(required=True, validate=validate.OneOf(_STATUSES))
    decidedBy = fields.String(required=True, metadata={"description": "a key's id; `system` when time ran out"})
    decidedByName = fields.String(required=True)
    decidedAt = fields.AwareDateTime(required=True)
    comment = fields.String(required=True, allow_none=True)
    arguments = fields.Dict(required=True, allow_none=True, metadata={"description": "exactly what was approved"})
    response = fields.Raw(required=True, allow_none=True)
    votes = fields.List(fields.Nested(VoteSchema), required=True)
    validUntil = fields.AwareDateTime(
        metadata={"description": "Only for an approval with a limit: the time from which it can no longer be used."}
    )


class WaitingForSchema(Schema):
    stage = fields.Integer(required=True, metadata={"description": "from 0"})
    stages = fields.Integer(required=True, metadata={"description": "how many there are"})
    name = fields.String(required=True, allow_none=True, metadata={"description": "of the stage"})
    approvals = fields.Integer(required=True, metadata={"description": "needed in this stage"})
    approved = fields.Integer(required=True, metadata={"description": "so far"})
    groups = fields.List(fields.String(), required=True, metadata={"description": "with assignees empty: anybody"})
    assignees = fields.List(fields.String(), required=True)


class ClaimedSchema(Schema):
    by = fields.String(required=True)
    byName = fields.String(required=True)
    at = fields.AwareDateTime(required=True)
    until = fields.AwareDateTime(required=True, metadata={"description": "after that it counts no more"})


class AgentContextSchema(Schema):
    action = fields.String(required=True)
    context = fields.Dict(required=True)
    arguments = fields.Dict(required=True, allow_none=True)


class PauseSchema(Schema):
    watchId = fields.String(required=True)
    namespace = fields.String(required=True)
    kind = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(_STATUSES))
    createdAt = fields.AwareDateTime(required=True)
    createdBy = fields.String(required=True)
    expiresAt = fields.AwareDateTime(required=True, allow_none=True)
    onTimeout = fields.String(required=True, validate=validate.OneOf([str(value) for value in OnTimeout]))
    resolvedAt = fields.AwareDateTime(required=True, allow_none=True)
    agentContext = fields.Nested(AgentContextSchema, required=True)
    decision = fields.Nested(DecisionSchema, required=True, allow_none=True)
    review = fields.Dict(required=True)
    votes = fields.List(fields.Nested(VoteSchema), required=True, metadata={"description": "also what counts no more"})
    waitingFor = fields.Nested(
        WaitingForSchema, required=True, allow_none=True, metadata={"description": "whose votes are missing"}
    )
    claim = fields.Nested(
        ClaimedSchema, required=True, allow_none=True, metadata={"description": "who works on the review"}
    )
    escalatedAt = fields.AwareDateTime(required=True, allow_none=True)
    argumentsSchema = fields.Dict(required=True, allow_none=True)
    responseSchema = fields.Dict(required=True, allow_none=True)
    revision = fields.Integer(required=True)
    argumentsDigest = fields.String(required=True, allow_none=True)
    postedArguments = fields.Dict(
        metadata={"description": "only where a reviewer has edited the arguments: as they were before"}
    )
    priority = fields.Integer(required=True)
    tags = fields.List(fields.String(), required=True)
    metadata = fields.Dict(required=True)
    externalId = fields.String(metadata={"description": "where it was given"})
    approvalValidFor = fields.Integer()
    outcomeWithin = fields.Integer()
    consumption = fields.Nested(
        ConsumptionSchema, metadata={"description": "The use of the approval; absent until it is used."}
    )
    callbackUrl = fields.String(required=True, allow_none=True)
    statusUrl = fields.String(required=True)
    reviewUrl = fields.String(required=True)
    unreadable = fields.List(
        fields.String(),
        metadata={"description": "only where a newer release has written what this one does not understand: which"},
    )


class PausePageSchema(page_of(PauseSchema, "PausesSchema")):  # type: ignore[misc]
    missing = fields.List(
        fields.String(),
        metadata={"description": "of the ids asked for: those that this key sees no pause of"},
    )


class ResultSchema(Schema):
    watchId = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(["ok", "error"]))
    pause = fields.Nested(PauseSchema)
    problem = fields.Dict(metadata={"description": "as the single decision would have answered"})


class ResultsSchema(Schema):
    results = fields.List(fields.Nested(ResultSchema), required=True, metadata={"description": "in the items' order"})
