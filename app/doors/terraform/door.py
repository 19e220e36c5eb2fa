"""Run tasks of HCP Terraform and Terraform Enterprise, payload version 1.

The result is a callback. It uses the approval itself, and no outcome is due.
"""

from datetime import timedelta
from typing import Any

from flask import Response

from app.deps import deps
from app.doors.door import Door, Problem, read_object
from app.doors.terraform.run_tasks import read_run_task
from app.doors.terraform.signature import identify
from app.http.json_response import json_response
from domain.identity.access import Permission
from domain.pauses.consumption import NO_OUTCOME
from domain.pauses.serialization import review_url
from domain.values import ids
from services.pauses.callback_tokens import store_token

_NAMES = {"callbackUrl": "task_result_callback_url"}


def _problem_document(problem: Problem) -> dict[str, Any]:
    """Return the error in the shape of JSON:API, which HCP Terraform itself uses."""
    return {"errors": [{"status": str(problem.status), "title": problem.code, "detail": problem.detail}]}


terraform = Door("terraform", "/terraform", _problem_document, names=_NAMES, identify=identify)


@terraform.operation("POST", "/<key_id>", Permission.PAUSE_CREATE)
def run_task(key_id: str) -> Response:
    """Hold the run. A repeated request finds the same pause, and brings the token if the first could not store it."""
    task = read_run_task(read_object(), timedelta(seconds=deps().pause_expires_in))
    if task is None:
        return json_response({})
    pause, _ = terraform.hold(task.result_id, task.submission, outcome_within=NO_OUTCOME, **task.wanted)
    store_token(deps().database, pause.id, deps().cipher.encrypt(task.token))
    return json_response(
        {"watchId": ids.text(ids.WATCH, pause.id), "reviewUrl": review_url(pause.id, deps().database.public_url)}
    )
