"""Every way a request can be refused, one class each. The docstring is the message when no better detail is given.

`code` is stable: programs branch on it. The edge (`app/http/problems.py`) maps the five kinds to HTTP statuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with the input: where (`arguments.items[2].price`) and what."""

    path: str
    message: str


class DomainError(Exception):
    """The request was refused."""

    code: ClassVar[str] = "REFUSED"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (self.__doc__ or "").split("\n")[0]
        super().__init__(self.detail)


class DecisionUnknown(DomainError):
    """The database was away, or somebody held this one for too long: whether it was decided is not known, ask again."""

    code = "DATABASE_UNAVAILABLE"


class TooMany(DomainError):
    """This was asked for too often: wait as many seconds as `Retry-After` says."""

    code = "TOO_MANY_REQUESTS"

    def __init__(self, detail: str | None = None, retry_after: int = 60) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Forbidden(DomainError):
    """This key may not do that."""

    code = "FORBIDDEN"


class SelfDecision(Forbidden):
    """Nobody decides a pause that they themselves created: ask a reviewer with another key."""

    code = "SELF_DECISION"


class NotEligible(Forbidden):
    """This review asks other people: its policy names who may vote."""

    code = "NOT_ASKED"


class NotFound(DomainError):
    """There is nothing with this id that this key may see."""

    code = "NOT_FOUND"


class Conflict(DomainError):
    """The thing is not in a state that allows this."""

    code = "CONFLICT"


class WrongState(Conflict):
    """The saga or step is in a state that does not allow this; `code` says in which: STEP_COMPLETED, SAGA_FAILED."""

    code = "WRONG_STATE"

    def __init__(self, what: str = "WRONG", status: str = "STATE", detail: str | None = None) -> None:
        super().__init__(detail)
        self.code = f"{what}_{status}"  # type: ignore[misc]


class AlreadyResolved(Conflict):
    """The pause was resolved before: the stored outcome stands, and is in `current`."""

    code = "ALREADY_RESOLVED"

    def __init__(self, current: dict[str, Any]) -> None:
        super().__init__()
        self.current = current


class RevisionChanged(Conflict):
    """What is under review was changed since you read it: decide on what `current` says, with its revision."""

    code = "REVISION_CHANGED"

    def __init__(self, current: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.current = current


class RevisionRequired(RevisionChanged):
    """What is under review was edited or run again: name the `revision` that you have read, as in `current`."""

    code = "REVISION_REQUIRED"


class NotUnderstood(Conflict):
    """A newer release has written this, and this one does not understand all of it."""

    code = "NOT_UNDERSTOOD"


class NeededLater(Conflict):
    """A later stage of this review cannot be completed without your vote: leave this stage to somebody else."""

    code = "NEEDED_LATER"


class Claimed(Conflict):
    """Somebody else works on this review: ask them, or take it over (`takeOver: true`)."""

    code = "CLAIMED"


class EndpointDisabled(Conflict):
    """The webhook endpoint is disabled: enable it (PATCH enabled: true) before sending to it."""

    code = "ENDPOINT_DISABLED"


class VersionExists(Conflict):
    """This version is deployed with other content: give the manifest a new version, or replace it (?replace=true)."""

    code = "VERSION_EXISTS"


class Invalid(DomainError):
    """The request was understood, but something in it has no usable meaning; `errors` names each place."""

    code = "VALIDATION_FAILED"

    def __init__(self, field_errors: Sequence[FieldError] = (), detail: str | None = None) -> None:
        super().__init__(detail)
        self.field_errors = tuple(field_errors)


class InvalidManifest(Invalid):
    """The manifest cannot be deployed; `errors` names each place."""

    code = "INVALID_MANIFEST"


class PolicyUnsatisfiable(Invalid):
    """The review policy can never be met: fewer people may vote than it asks for; `errors` names each place."""

    code = "POLICY_UNSATISFIABLE"


class IdempotencyKeyReused(Invalid):
    """This Idempotency-Key was used in the namespace before, with another request: use a new one for a new request."""

    code = "IDEMPOTENCY_KEY_REUSED"
