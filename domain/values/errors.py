"""The reasons to refuse a request, one class each. The docstring is the message when no detail is given.

`code` is stable, because programs branch on it. `app/http/problems.py` maps the five kinds to HTTP statuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error in the input: where it is (`arguments.items[2].price`) and what is wrong."""

    path: str
    message: str


class DomainError(Exception):
    """The request was refused."""

    code: ClassVar[str] = "REFUSED"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (self.__doc__ or "").split("\n")[0]
        super().__init__(self.detail)


class DecisionUnknown(DomainError):
    """The database was unavailable or this pause was locked for too long. It may have been decided: read it again."""

    code = "DATABASE_UNAVAILABLE"


class TooMany(DomainError):
    """Too many requests of this kind: wait for the seconds in `Retry-After`, then try again."""

    code = "TOO_MANY_REQUESTS"

    def __init__(self, detail: str | None = None, retry_after: int = 60) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Forbidden(DomainError):
    """This key has no permission for this request: use a key whose role allows it."""

    code = "FORBIDDEN"


class SelfDecision(Forbidden):
    """You created this pause, so you may not decide it: ask a reviewer with another key."""

    code = "SELF_DECISION"


class NotEligible(Forbidden):
    """You are not an eligible voter: the approval policy of this pause names who may vote."""

    code = "NOT_ASKED"


class NotFound(DomainError):
    """This id does not exist, or this key has no access to it: check the id and the key's namespaces."""

    code = "NOT_FOUND"


class Conflict(DomainError):
    """The current state does not allow this request: read the resource again."""

    code = "CONFLICT"


class WrongState(Conflict):
    """The state of the saga or step does not allow this request. `code` names the state, like STEP_COMPLETED."""

    code = "WRONG_STATE"

    def __init__(self, subject: str = "WRONG", status: str = "STATE", detail: str | None = None) -> None:
        super().__init__(detail)
        self.code = f"{subject}_{status}"  # type: ignore[misc]


class AlreadyResolved(Conflict):
    """The pause is already resolved. Its outcome does not change; `current` contains it."""

    code = "ALREADY_RESOLVED"

    def __init__(self, current: dict[str, Any]) -> None:
        super().__init__()
        self.current = current


class RevisionChanged(Conflict):
    """The pause changed after you read it: decide on the content of `current`, and send its revision."""

    code = "REVISION_CHANGED"

    def __init__(self, current: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.current = current


class RevisionRequired(RevisionChanged):
    """The pause was edited or its step ran again: send the `revision` that you have read, as in `current`."""

    code = "REVISION_REQUIRED"


class NotUnderstood(Conflict):
    """A newer release wrote this, and this release does not understand all of it: upgrade this server."""

    code = "NOT_UNDERSTOOD"


class NeededLater(Conflict):
    """A later stage of this review cannot be completed without your vote: leave this stage to another voter."""

    code = "NEEDED_LATER"


class NotResolved(Conflict):
    """The pause is pending, and only a resolved pause has a receipt: wait for the decision."""

    code = "NOT_RESOLVED"


class ReceiptKeyUnavailable(DomainError):
    """This server cannot read the key that signs receipts: `sagahold doctor` says why."""

    code = "RECEIPT_KEY_UNAVAILABLE"


class Claimed(Conflict):
    """Another person works on this review: ask them, or take it over (`takeOver: true`)."""

    code = "CLAIMED"


class ExecutionConflict(Conflict):
    """The state of the pause does not allow this request; `current` contains it."""

    code = "EXECUTION_CONFLICT"

    def __init__(self, detail: str | None = None, current: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.current = current


class NotApproved(ExecutionConflict):
    """The pause is not approved: do not execute the action."""

    code = "NOT_APPROVED"


class ApprovalExpired(ExecutionConflict):
    """The approval is no longer valid: do not execute the action, and request a new approval."""

    code = "APPROVAL_EXPIRED"


class ArgumentsChanged(ExecutionConflict):
    """The arguments are not the approved ones: execute `decision.arguments` of `current`."""

    code = "ARGUMENTS_CHANGED"


class AlreadyConsumed(ExecutionConflict):
    """The approval was used with another Idempotency-Key: do not execute the action again."""

    code = "ALREADY_CONSUMED"


class NotConsumed(ExecutionConflict):
    """The approval is not used yet: consume it before you report an outcome."""

    code = "NOT_CONSUMED"


class OutcomeConflict(ExecutionConflict):
    """Another outcome was reported before. It does not change; `current` contains it."""

    code = "OUTCOME_CONFLICT"


class EndpointDisabled(Conflict):
    """The webhook endpoint is disabled: enable it (PATCH `enabled`) before you send to it."""

    code = "ENDPOINT_DISABLED"


class VersionExists(Conflict):
    """This version is deployed with other content: give the manifest a new version, or replace it (?replace=true)."""

    code = "VERSION_EXISTS"


class Invalid(DomainError):
    """The request has invalid fields; `errors` names each one."""

    code = "VALIDATION_FAILED"

    def __init__(self, field_errors: Sequence[FieldError] = (), detail: str | None = None) -> None:
        super().__init__(detail)
        self.field_errors = tuple(field_errors)


class InvalidManifest(Invalid):
    """The manifest cannot be deployed; `errors` names each invalid field."""

    code = "INVALID_MANIFEST"


class PolicyUnsatisfiable(Invalid):
    """The approval policy requires more votes than there are eligible voters; `errors` names each field."""

    code = "POLICY_UNSATISFIABLE"


class IdempotencyKeyReused(Invalid):
    """A different request in this namespace already used this Idempotency-Key: use a new key for a new request."""

    code = "IDEMPOTENCY_KEY_REUSED"
