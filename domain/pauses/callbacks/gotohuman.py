"""The webhook of gotoHuman: the result of a review.

Two shapes of it are in use, and their fields do not clash, so the body has both.
"""

from typing import Any

from domain.pauses.callbacks.callback_format import CallbackFormat
from domain.pauses.door import object_in
from domain.pauses.pause import Pause, Status
from domain.pauses.serialization import instant, review_url
from domain.values import canonical_json, ids

APPROVED, REJECTED = "approved", "rejected"
_TOO_LATE = "the approval expired before it reached the agent: request a new review"


def _document(pause: Pause, public_url: str, valid: bool) -> dict[str, Any]:
    decision, submission = pause.decision, object_in(pause.metadata, "submission")
    assert decision is not None, "only a resolved pause has a callback"
    too_late = pause.status is Status.APPROVED and not valid
    response = APPROVED if pause.status is Status.APPROVED and valid else REJECTED
    values = pause.arguments or {}
    posted = values if pause.posted_arguments is None else pause.posted_arguments
    review_id, link = ids.text(ids.WATCH, pause.id), review_url(pause.id, public_url)
    at, form = instant(decision.at), submission.get("formId")
    return {
        "event": "review.completed",
        "type": "review",
        "accountId": pause.namespace,
        "reviewId": review_id,
        "agentId": submission.get("agentId"),
        "sessionId": submission.get("sessionId"),
        "formId": form,
        "formName": form,
        # Two fields of our own: the product knows neither expired and cancelled reviews nor comments.
        "status": str(Status.EXPIRED if too_late else pause.status),
        "comment": _TOO_LATE if too_late else decision.comment,
        "reviewResult": {
            "response": response,
            "respondingUser": decision.by.name,
            "respondedAt": at,
            "data": values,
        },
        "response": response,
        "respondingUser": decision.by.name,
        "respondedAt": at,
        "responseValues": {
            name: {"value": value, "wasEdited": _differs(posted, name, value)} for name, value in values.items()
        },
        "meta": submission.get("meta", {}),
        "gthLink": link,
        "gthLinkToReview": link,
    }


def _differs(posted: dict[str, Any], name: str, value: Any) -> bool:
    return name not in posted or canonical_json.digest(posted[name]) != canonical_json.digest(value)


FORMAT = CallbackFormat(_document)
