"""/sagas/<trace_id>: one saga, step by step, with an operator's recovery actions."""

import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID

from flask import redirect, request

from app.dashboard.framework.form_fields import text
from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.sagas.saga_picture import picture
from app.deps import deps
from app.http.json_body import read_text
from app.http.problems import status_of
from domain.identity.access import Permission
from domain.log.audit import digest
from domain.manifests.definition import SagaDefinition, StepKind
from domain.sagas.saga import TERMINAL, Saga, SagaStatus
from domain.sagas.serialization import span_text
from domain.sagas.step import Step, StepStatus
from domain.values import ids
from domain.values.errors import Conflict, DomainError, FieldError, Invalid, NotFound
from services.sagas import recovery
from services.sagas.lifecycle import cancel_saga
from services.sagas.queries import StepRef, read_saga
from services.sagas.recovery import CLAIM_ACTIVE, Retry

RECOVER = Permission.SAGA_RECOVER
_STEP = "/sagas/<trace_id>/steps/<step_span_id>"

# The notice of the page by the word in its address.
NOTICES = {
    "requeued": "A worker now runs the step again.",
    "scheduled": "A worker now retries the undo.",
    CLAIM_ACTIVE: "A worker is running the step now, so nothing was done. If that worker is gone, wait half a minute,"
    " or take the step over from it.",
    "resolved": "The outcome is recorded.",
    "cancelled": "The saga is cancelled, and its completed steps are being undone.",
}
ERRORS = {
    recovery.MayRunTwice.code: "The call may already have been carried out, and the tool is not declared safe to"
    " repeat. Check first. To run it anyway, tick the box in the form.",
    recovery.RecoveryTokenReused.code: "This form was sent before with other choices. Reload the page.",
}


@page("GET", "/sagas/<trace_id>", permission=Permission.SAGA_READ)
def saga(trace_id: str) -> Any:
    """Show one saga."""
    return render("saga.html", notice=NOTICES.get(request.args.get("said", "")), **_page_values(trace_id))


@page("GET", "/sagas/<trace_id>/progress", permission=Permission.SAGA_READ, by_itself=True)
def saga_progress(trace_id: str) -> Any:
    """Return the part of the page that changes, for the page's script."""
    return render("saga_progress.html", **_page_values(trace_id))


@page("POST", f"{_STEP}/retry-step", permission=RECOVER)
def saga_retry_step(trace_id: str, step_span_id: str) -> Any:
    """Retry a step."""
    return _act(trace_id, step_span_id, lambda: _retry(recovery.retry_step, trace_id, step_span_id))


@page("POST", f"{_STEP}/retry-compensation", permission=RECOVER)
def saga_retry_compensation(trace_id: str, step_span_id: str) -> Any:
    """Retry an undo."""
    return _act(trace_id, step_span_id, lambda: _retry(recovery.retry_compensation, trace_id, step_span_id))


@page("POST", f"{_STEP}/resolve", permission=RECOVER)
def saga_resolve(trace_id: str, step_span_id: str) -> Any:
    """Record the outcome of a call."""
    return _act(trace_id, step_span_id, lambda: _resolve(trace_id, step_span_id))


@page("POST", "/sagas/<trace_id>/cancel", permission=RECOVER)
def saga_cancel(trace_id: str) -> Any:
    """Cancel a saga."""
    return _act(trace_id, None, lambda: _cancel(trace_id))


def _retry(act: Callable[..., dict[str, Any]], trace_id: str, span: str) -> str:
    """Retry once per form: the form's token makes a second submission have no effect."""
    token = text("recovery_token", 128) or None
    flags = {name: name in request.form for name in ("force", "allow_destructive")}
    retry = Retry(token=token, reason=text("reason") or None, arguments=_arguments(), **flags)
    return str(act(deps().database, person(), StepRef(_trace(trace_id), span), retry)["status"])


def _arguments() -> dict[str, Any] | None:
    json_text = request.form.get("arguments", "").strip()
    arguments = read_text(json_text, "arguments") if json_text else None
    if arguments is not None and not isinstance(arguments, dict):
        raise Invalid([FieldError("arguments", 'is not an object, like {"id": "R-7"}')])
    return arguments


def _resolve(trace_id: str, span: str) -> str:
    outcome, evidence = request.form.get("outcome"), text("evidence")
    if outcome not in ("done", "not_done"):
        raise Invalid([FieldError("outcome", "is missing: choose whether it was done")])
    if not evidence:
        raise Invalid([FieldError("evidence", "is missing: say how you know")])
    done, step = outcome == "done", StepRef(_trace(trace_id), span)
    output = _output() if done else None
    result = recovery.resolve(deps().database, person(), step, done=done, output=output, evidence=evidence)
    return str(result["status"])


def _cancel(trace_id: str) -> str:
    cancel_saga(deps().database, person(), _trace(trace_id), text("reason") or None)
    return "cancelled"


def _output() -> Any:
    json_text = request.form.get("output", "").strip()
    return read_text(json_text, "output") if json_text else None


def _act(trace_id: str, span: str | None, act: Callable[[], str]) -> Any:
    """Run the action and show the page again: with its result, or with the error and the person's input."""
    try:
        result = act()
    except (Conflict, Invalid) as error:
        values = _page_values(trace_id) | {"problem": _messages(error), "typed": request.form, "typed_for": span}
        return render("saga.html", status_of(type(error)), **values)
    return redirect(f"/sagas/{trace_id}?said={result}", 303)


def _messages(error: DomainError) -> list[str]:
    if isinstance(error, Invalid) and error.field_errors:
        return [f"{each.path} {each.message}" for each in error.field_errors]
    # The API's messages name its parameters; these name the controls of the page.
    return [ERRORS.get(error.code, error.detail[:1].upper() + error.detail[1:])]


def _page_values(trace_id: str) -> dict[str, Any]:
    document, saga, definition = read_saga(deps().database, person(), _trace(trace_id))
    rows = picture(saga, definition)
    may_recover = person().may(RECOVER)
    return {
        "saga": document,
        "input": saga.input,
        "rows": rows,
        "undo_spans": {span_text(undo.span_id) for undo in saga.undos},
        "watch_ids": {
            span_text(step.span_id): ids.text(ids.WATCH, step.watch_id) for step in saga.steps if step.watch_id
        },
        "actions": {
            span_text(step.span_id): _actions(saga, definition, step) for step in saga.all_steps if may_recover
        },
        "may_cancel": may_recover and saga.status not in {*TERMINAL, SagaStatus.COMPENSATING},
        "ended": saga.status in TERMINAL,
        # The page's script compares versions to see whether the saga has changed.
        "version": digest([document, [asdict(row) for row in rows]]),
        "new_token": lambda: secrets.token_hex(16),
        "problem": [],
        "typed": {},
        "typed_for": None,
    }


def _actions(saga: Saga, definition: SagaDefinition, step: Step) -> list[str]:
    """Return the recovery actions that the step's state allows; services/sagas/recovery.py has the table."""
    in_progress = step.status is StepStatus.IN_PROGRESS
    is_undo = step.compensates is not None
    found = []
    if saga.stuck is not None:
        return [("retry-compensation" if is_undo else "retry-step")] if step == saga.current else []
    if step.outcome_unknown and (is_undo or definition.step(step.id).kind is StepKind.COMMIT):
        found.append("resolve")
    if not is_undo and in_progress and saga.status is SagaStatus.RUNNING:
        found.append("retry-step")
    if step.undo_failed or (is_undo and in_progress):
        found.append("retry-compensation")
    if step.undo_failed:
        found.append("resolve")
    return found


def _trace(trace_id: str) -> UUID:
    found = ids.parse("", trace_id)
    if found is None:
        raise NotFound(f"{trace_id[:64]!r} is not the trace id of a saga")
    return found
