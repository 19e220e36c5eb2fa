"""Requests of HCP Terraform's run tasks, as pauses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from app.doors.door import MAX_EXTERNAL_ID
from app.doors.fields import required_text, short
from domain.values.errors import FieldError, Invalid
from domain.values.field_reader import FieldErrors, FieldReader

# The token of the request by which HCP Terraform checks a new run task. No run waits for its result.
TEST_TOKEN = "test-token"  # noqa: S105
# HCP Terraform gives up after 60 minutes. The pause ends before, so that the run says why.
MAX_WAIT = timedelta(minutes=55)
MAX_ACTION, MAX_URL, MAX_NAME, MAX_TEXT = 480, 2_048, 200, 2_000
_TOKEN = re.compile(r"[\x21-\x7e]{1,4000}")
# The next action of the run, if the task passes. After `post_apply` there is nothing left to hold.
_STAGES: Mapping[str, str] = MappingProxyType({"pre_plan": "plan", "post_plan": "apply", "pre_apply": "apply"})
# Facts for the reviewer, with their names on the page.
_CONTEXT = {
    "message": "run_message",
    "started_by": "run_created_by",
    "started_at": "run_created_at",
    "run_url": "run_app_url",
    "workspace_url": "workspace_app_url",
    "working_directory": "workspace_working_directory",
    "branch": "vcs_branch",
    "commit_url": "vcs_commit_url",
    "pull_request_url": "vcs_pull_request_url",
    "enforcement": "task_result_enforcement_level",
}


@dataclass(frozen=True, slots=True)
class RunTask:
    """A request for a result.

    Attributes:
        result_id: HCP Terraform's id of the result, which a repeated request has too.
        token: authenticates the result.
        submission: what identifies the request.
        wanted: fields of `PauseRequest`.
    """

    result_id: str
    token: str = field(repr=False)
    submission: dict[str, Any]
    wanted: dict[str, Any]


def read_run_task(body: dict[str, Any], default_wait: timedelta) -> RunTask | None:
    """Read a request; return None for the check of a new run task. Raise `Invalid`."""
    if body.get("payload_version") != 1 or isinstance(body["payload_version"], bool):
        raise Invalid([FieldError("payload_version", "must be 1: this server knows no other version")])
    if body.get("access_token") == TEST_TOKEN:
        return None
    errors = FieldErrors()
    task = FieldReader(errors, "", body)
    names = ("run_id", "workspace_name", "workspace_id", "organization_name")
    run_id, workspace, workspace_id, organization = (required_text(task, name, most=MAX_NAME) for name in names)
    result_id = required_text(task, "task_result_id", most=MAX_EXTERNAL_ID)
    callback = required_text(task, "task_result_callback_url", most=MAX_URL)
    token, stage, speculative = task.raw("access_token"), task.raw("stage"), task.raw("is_speculative")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        task.field_error("access_token", "must be a token of printable characters")
    if not isinstance(stage, str) or stage not in _STAGES:
        task.field_error("stage", f"must be {', '.join(_STAGES)}: no other stage waits for a decision")
    if not isinstance(speculative, bool):
        task.field_error("is_speculative", "must be true or false")
    if errors.found:
        raise Invalid(errors.found)
    run = {"organization": organization, "workspace": workspace, "workspace_id": workspace_id, "run_id": run_id}
    run |= {"stage": stage, "is_speculative": speculative}
    verb = "plan" if speculative else _STAGES[str(stage)]
    wanted = {
        "action": short(f"Terraform {verb} of workspace {workspace}", MAX_ACTION),
        "context": {name: _cut(body[key]) for name, key in _CONTEXT.items() if isinstance(body.get(key), str)},
        "arguments": run,
        # A run cannot be changed, so nothing but exactly this can be approved.
        "arguments_schema": {"const": run},
        "callback_url": callback,
        "callback_format": "terraform",
        "expires": min(default_wait, MAX_WAIT),
        "expires_by_default": True,
        "metadata": {"client": _client(body, run_id, workspace)},
    }
    return RunTask(result_id, str(token), run | {"task_result_id": result_id, "callback_url": callback}, wanted)


def _client(body: Mapping[str, Any], run_id: str, workspace: str) -> dict[str, str]:
    by = body.get("run_created_by")
    named = {"user": short(by, MAX_NAME)} if isinstance(by, str) and by.strip() else {}
    return {"workspace": workspace, "run": run_id, **named}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"
