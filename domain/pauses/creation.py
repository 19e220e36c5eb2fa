"""What an agent posts, and what it has to mean before it becomes a pause."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.pauses import approval_policy
from domain.pauses import policy_floor as floors
from domain.pauses.approval_policy import ApprovalPolicy
from domain.pauses.pause import OnTimeout, Pause
from domain.pauses.policy_floor import PolicyFloor
from domain.values import canonical_json, json_schema
from domain.values.errors import FieldError, Invalid
from domain.values.network import Network
from domain.values.url import check_url

# Nobody waits longer for a decision; and dates stay far from the end of what the database can hold.
MAX_EXPIRY = timedelta(days=3_650)


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """What was posted.

    Attributes:
        expires: after how long, or when; None means never. expires_by_default: nobody has said so.
        on_timeout: None is what the namespace has.
    """

    namespace: str
    action: str
    context: dict[str, Any] | None
    arguments: dict[str, Any] | None
    callback_url: str | None
    expires: timedelta | datetime | None
    on_timeout: OnTimeout | None
    review: dict[str, Any] | None
    response_schema: dict[str, Any] | None
    priority: int
    tags: tuple[str, ...]
    metadata: dict[str, Any] | None
    arguments_schema: dict[str, Any] | None = None
    expires_by_default: bool = False
    external_id: str | None = None


def check_request(draft: PauseRequest, now: datetime, egress_allow: Sequence[Network]) -> None:
    """Raises `Invalid` with every fault in the draft. `now` may be off a little: what has only expired is not told."""
    found = [*_field_errors(draft, now, egress_allow)]
    if any(field_error.path != "expiresAt" for field_error in found):
        raise Invalid(found)


def pause_from(
    draft: PauseRequest,
    id_: UUID,
    created_by: str,
    now: datetime,
    egress_allow: Sequence[Network],
    floor: PolicyFloor | None = None,
    *,
    checked: bool = False,
) -> Pause:
    """The pause that the draft asks for, by the namespace's floor. Raises `Invalid` with every fault in it.

    `checked`: by `check_draft`; then only what needs the floor or the time is looked at.
    """
    floor = floor or PolicyFloor(draft.namespace)
    if draft.expires_by_default and isinstance(draft.expires, timedelta):
        draft = replace(draft, expires=floor.lengthened(draft.expires))
    on_timeout = draft.on_timeout or floor.default_on_timeout()
    own_errors = _expiry_errors(draft.expires, now) if checked else _field_errors(draft, now, egress_allow)
    found = [*own_errors, *_floor_errors(draft, floor, now)]
    own = None
    if draft.review is not None and (own := _parsed(draft.review, found)) is not None:
        found += floors.review_errors(floor, own, "review")
    if found:
        raise Invalid(found)
    policy = floors.combined(floor.review, own)
    check_escalation(on_timeout, policy, "onTimeout")
    expires_at = now + draft.expires if isinstance(draft.expires, timedelta) else draft.expires
    return Pause(
        id=id_,
        namespace=draft.namespace,
        action=draft.action,
        created_by=created_by,
        created_at=now,
        expires_at=expires_at,
        context=draft.context,
        arguments=draft.arguments,
        arguments_digest=None if draft.arguments is None else canonical_json.digest(draft.arguments),
        arguments_schema=draft.arguments_schema,
        on_timeout=on_timeout,
        review=policy,
        response_schema=draft.response_schema,
        callback_url=draft.callback_url,
        priority=draft.priority,
        tags=draft.tags,
        metadata=draft.metadata,
        external_id=draft.external_id,
    )


def _parsed(policy: dict[str, Any], found: list[FieldError]) -> ApprovalPolicy | None:
    try:
        return approval_policy.parse(policy)
    except Invalid as invalid:
        found.extend(invalid.field_errors)
        return None


def _floor_errors(draft: PauseRequest, floor: PolicyFloor, now: datetime) -> Iterator[FieldError]:
    if draft.on_timeout is not None:
        yield from floors.on_timeout_errors(floor, draft.on_timeout, "onTimeout")
    place = "expiresAt" if isinstance(draft.expires, datetime) else "expiresIn"
    yield from floors.expiry_errors(floor, draft.expires, now, place)


def _field_errors(draft: PauseRequest, now: datetime, egress_allow: Sequence[Network]) -> Iterator[FieldError]:
    if not draft.action.strip():
        yield FieldError("action", "says nothing: tell the reviewer what the agent wants to do")
    for name, value in (
        ("context", draft.context),
        ("arguments", draft.arguments),
        ("argumentsSchema", draft.arguments_schema),
        ("responseSchema", draft.response_schema),
        ("metadata", draft.metadata),
    ):
        if value is not None and canonical_json.size(value) > canonical_json.MAX_BYTES:
            yield FieldError(name, f"is larger than {canonical_json.MAX_BYTES // 1024} KiB")
    if draft.arguments_schema is not None:
        yield from _arguments_errors(draft.arguments_schema, draft.arguments)
    if draft.response_schema is not None:
        yield from json_schema.schema_errors(draft.response_schema, "responseSchema")
    yield from _expiry_errors(draft.expires, now)
    if draft.callback_url is not None:
        yield from url_errors("callbackUrl", draft.callback_url, egress_allow)


def _arguments_errors(schema: dict[str, Any], arguments: dict[str, Any] | None) -> Iterator[FieldError]:
    """Nobody is asked about arguments that cannot be used."""
    if arguments is None:
        yield FieldError("argumentsSchema", "is for arguments, and none are given")
    elif unusable := list(json_schema.schema_errors(schema, "argumentsSchema")):
        yield from unusable
    else:
        yield from json_schema.value_errors(schema, arguments, "arguments")


def check_escalation(on_timeout: OnTimeout, policy: ApprovalPolicy, path: str) -> None:
    """Raises `Invalid`."""
    if on_timeout is OnTimeout.ESCALATE and policy.escalate is None:
        raise Invalid([FieldError(path, "escalates to nobody: the review has no escalate.to")])


def _expiry_errors(expires: timedelta | datetime | None, now: datetime) -> Iterator[FieldError]:
    if isinstance(expires, datetime):
        if expires <= now:
            yield FieldError("expiresAt", "is not in the future")
        elif expires - now > MAX_EXPIRY:
            yield FieldError("expiresAt", "is more than ten years away: send null for never")


def url_errors(path: str, url: str, egress_allow: Sequence[Network]) -> Iterator[FieldError]:
    try:
        check_url(url, egress_allow)
    except ValueError as error:
        yield FieldError(path, str(error))
