"""The results of HCP Terraform's run tasks.

A run cannot be changed, so an approval of edited arguments fails the task. `running` results keep a waiting task alive.
"""

from typing import Any

from domain.pauses.callbacks.callback_format import CallbackFormat
from domain.pauses.pause import SYSTEM, Decision, Pause, Status
from domain.pauses.serialization import review_url

MAX_MESSAGE = 1_000
_MEDIA_TYPE = "application/vnd.api+json"
_VERBS = {Status.APPROVED: "Approved", Status.REJECTED: "Rejected", Status.CANCELLED: "Cancelled"}
_TOO_LATE = "The approval expired, or something else used it, before this result was sent: start a new run."
_EDITED = "A reviewer edited the request, and a run cannot be changed: start a new run."
_NO_DECISION = "The time ran out without a decision."
_WAITING = "Waiting for a decision."


def _result(pause: Pause, public_url: str, valid: bool) -> dict[str, Any]:
    decision = pause.decision
    assert decision is not None, "only a resolved pause has a result"
    if pause.status is not Status.APPROVED:
        return _document("failed", _summary(decision), pause, public_url)
    if not valid:
        return _document("failed", _TOO_LATE, pause, public_url)
    if pause.posted_arguments is not None:
        return _document("failed", _EDITED, pause, public_url)
    return _document("passed", _summary(decision), pause, public_url)


def _summary(decision: Decision) -> str:
    if decision.outcome is Status.EXPIRED or (decision.outcome is Status.REJECTED and decision.by.id == SYSTEM):
        return _NO_DECISION
    by = f"{_VERBS[decision.outcome]} by {decision.by.name}"
    return f"{by}: {decision.comment}" if decision.comment else f"{by}."


def _progress(pause: Pause, public_url: str, _valid: bool) -> dict[str, Any]:
    return _document("running", _WAITING, pause, public_url)


def _document(status: str, message: str, pause: Pause, public_url: str) -> dict[str, Any]:
    attributes = {"status": status, "message": message[:MAX_MESSAGE], "url": review_url(pause.id, public_url)}
    return {"data": {"type": "task-results", "attributes": attributes}}


FORMAT = CallbackFormat(_result, method="PATCH", media_type=_MEDIA_TYPE, needs_token=True)
PROGRESS = CallbackFormat(_progress, method="PATCH", media_type=_MEDIA_TYPE, needs_token=True, is_result=False)
