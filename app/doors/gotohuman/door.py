"""The API of gotoHuman's client, version 0.2.4: request a review. The result is sent to the request's webhook."""

from typing import Any

from flask import Response

from app.deps import deps
from app.doors.door import Door, Problem, read_object
from app.doors.gotohuman.reviews import read_review
from app.http.json_response import json_response
from domain.identity.access import Permission
from domain.pauses.consumption import NO_OUTCOME
from domain.pauses.serialization import review_url
from domain.values import ids

_NAMES = {
    "callbackUrl": "webhookUrl",
    "arguments": "fields",
    "action": "title",
    "context": "meta",
    "review.assignees": "assignTo",
    "review.groups": "assignToGroups",
}


def _problem_document(problem: Problem) -> dict[str, Any]:
    return {"error": problem.detail, "code": problem.code}


gotohuman = Door("gotohuman", "/compat/gotohuman", _problem_document, key_header="x-api-key", names=_NAMES)


@gotohuman.operation("POST", "/requestReview", Permission.PAUSE_CREATE)
def request_review() -> Response:
    """Hold the content for a review. The client has no id of its own, so each request is a new review."""
    review = read_review(read_object())
    pause, _ = gotohuman.hold(None, review.submission, outcome_within=NO_OUTCOME, **review.wanted)
    document = {
        "reviewId": ids.text(ids.WATCH, pause.id),
        "gthLink": review_url(pause.id, deps().database.public_url),
    }
    document |= {"sessionId": review.body["sessionId"]} if "sessionId" in review.body else {}
    return json_response(document | ({"warnings": review.warnings} if review.warnings else {}))
