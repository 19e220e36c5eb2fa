"""An agent's request for a pause, and the checks that it has to pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.pauses import approval_policy
from domain.pauses import policy_floor as floors
from domain.pauses.approval_policy import ApprovalPolicy
from domain.pauses.content import CONTENT_FIELDS, PauseContent
from domain.pauses.pause import OnTimeout, Pause
from domain.pauses.policy_floor import PolicyFloor
from domain.values import canonical_json, json_schema
from domain.values.errors import FieldError, Invalid
from domain.values.network import Network
from domain.values.url import check_url

# Longer than any decision takes, and far from the last date that the database can store.
MAX_EXPIRY = timedelta(days=3_650)


@dataclass(frozen=True, slots=True)
class PauseRequest(PauseContent):
    """An agent's request for a pause.

    Attributes:
        expires: a duration or a time; None means never.
        on_timeout: None means the namespace's default.
        expires_by_default: `expires` is the server's default, not the agent's choice.
    """

    namespace: str
    action: str
    expires: timedelta | datetime | None
    on_timeout: OnTimeout | None = None
    review: dict[str, Any] | None = None
    expires_by_default: bool = False


def check_request(request: PauseRequest, now: datetime, egress_allow: Sequence[Network]) -> None:
    """Raise `Invalid` with every field error of the request.

    `now` may be slightly off, so an expiry in the past alone is left to `pause_from`.
    """
    found = [*_field_errors(request, now, egress_allow)]
    if any(field_error.path != "expiresAt" for field_error in found):
        raise Invalid(found)


def pause_from(
    request: PauseRequest,
    id_: UUID,
    created_by: str,
    now: datetime,
    egress_allow: Sequence[Network],
    floor: PolicyFloor | None = None,
    *,
    checked: bool = False,
) -> Pause:
    """Return the pause that the request asks for. Raise `Invalid` with every field error.

    Args:
        floor: the minimum policy of the namespace.
        checked: `check_request` has passed; check only what depends on the floor or the time.
    """
    floor = floor or PolicyFloor(request.namespace)
    if request.expires_by_default and isinstance(request.expires, timedelta):
        request = replace(request, expires=floor.lengthened(request.expires))
    on_timeout = request.on_timeout or floor.default_on_timeout()
    own_errors = _expiry_errors(request.expires, now) if checked else _field_errors(request, now, egress_allow)
    found = [*own_errors, *_floor_errors(request, floor, now)]
    own = None
    if request.review is not None and (own := _parsed(request.review, found)) is not None:
        found += floors.review_errors(floor, own, "review")
    if found:
        raise Invalid(found)
    policy = floors.combined(floor.review, own)
    check_escalation(on_timeout, policy, "onTimeout")
    expires_at = now + request.expires if isinstance(request.expires, timedelta) else request.expires
    return Pause(
        id=id_,
        namespace=request.namespace,
        action=request.action,
        created_by=created_by,
        created_at=now,
        expires_at=expires_at,
        arguments_digest=None if request.arguments is None else canonical_json.digest(request.arguments),
        on_timeout=on_timeout,
        review=policy,
        **{name: getattr(request, name) for name in CONTENT_FIELDS if name != "approval_valid_for"},
        approval_valid_for=floor.valid_for(request.approval_valid_for),
    )


def _parsed(policy: dict[str, Any], found: list[FieldError]) -> ApprovalPolicy | None:
    try:
        return approval_policy.parse(policy)
    except Invalid as invalid:
        found.extend(invalid.field_errors)
        return None


def _floor_errors(request: PauseRequest, floor: PolicyFloor, now: datetime) -> Iterator[FieldError]:
    if request.on_timeout is not None:
        yield from floors.on_timeout_errors(floor, request.on_timeout, "onTimeout")
    place = "expiresAt" if isinstance(request.expires, datetime) else "expiresIn"
    yield from floors.expiry_errors(floor, request.expires, now, place)


def _field_errors(request: PauseRequest, now: datetime, egress_allow: Sequence[Network]) -> Iterator[FieldError]:
    if not request.action.strip():
        yield FieldError("action", "says nothing: tell the reviewer what the agent wants to do")
    for name, value in (
        ("context", request.context),
        ("arguments", request.arguments),
        ("argumentsSchema", request.arguments_schema),
        ("responseSchema", request.response_schema),
        ("metadata", request.metadata),
    ):
        if value is not None and canonical_json.size(value) > canonical_json.MAX_BYTES:
            yield FieldError(name, f"is larger than {canonical_json.MAX_BYTES // 1024} KiB")
    if request.arguments_schema is not None:
        yield from _arguments_errors(request.arguments_schema, request.arguments)
    if request.response_schema is not None:
        yield from json_schema.schema_errors(request.response_schema, "responseSchema")
    yield from _expiry_errors(request.expires, now)
    if request.callback_url is not None:
        yield from url_errors("callbackUrl", request.callback_url, egress_allow)


def _arguments_errors(schema: dict[str, Any], arguments: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of the schema, or else those of the arguments under it."""
    if arguments is None:
        yield FieldError("argumentsSchema", "is for arguments, and none are given")
    elif unusable := list(json_schema.schema_errors(schema, "argumentsSchema")):
        yield from unusable
    else:
        yield from json_schema.value_errors(schema, arguments, "arguments")


def check_escalation(on_timeout: OnTimeout, policy: ApprovalPolicy, path: str) -> None:
    """Raise `Invalid` if the pause escalates but its policy does not say to whom."""
    if on_timeout is OnTimeout.ESCALATE and policy.escalate is None:
        raise Invalid([FieldError(path, "needs someone to escalate to: add escalate.to to the review")])


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
