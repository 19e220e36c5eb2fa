"""/sagas/<trace_id>: one saga, step by step, and what an operator may do where the engine knows no further."""

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

# Why this page is shown again, by the word in its address.
SAID = {
    "requeued": "A worker runs it again now.",
    "scheduled": "The undo is tried again now.",
    CLAIM_ACTIVE: "A worker is at it right now, so nothing was done. If that worker is gone, wait half a minute,"
    " or take the step from it.",
    "resolved": "Your answer is recorded.",
    "cancelled": "The saga is given up: what was done is being undone.",
}
REFUSED = {
    recovery.MayRunTwice.code: "It may have been carried out already, and nothing says that the tool bears a"
    " second time. Look first; if it is to run all the same, say so in the form.",
    recovery.RecoveryTokenReused.code: "This form was sent before, with other choices: load the page anew.",
}


@page("GET", "/sagas/<trace_id>", permission=Permission.SAGA_READ)
def saga(trace_id: str) -> Any:
    """One saga"""
    return render("saga.html", notice=SAID.get(request.args.get("said", "")), **_shown(trace_id))


@page("GET", "/sagas/<trace_id>/progress", permission=Permission.SAGA_READ, by_itself=True)
def saga_progress(trace_id: str) -> Any:
    """The part of the page that changes, for its script"""
    return render("saga_progress.html", **_shown(trace_id))


@page("POST", f"{_STEP}/retry-step", permission=RECOVER)
def saga_retry_step(trace_id: str, step_span_id: str) -> Any:
    """Run a stuck step again"""
    return _act(trace_id, step_span_id, lambda: _retried(recovery.retry_step, trace_id, step_span_id))


@page("POST", f"{_STEP}/retry-compensation", permission=RECOVER)
def saga_retry_compensation(trace_id: str, step_span_id: str) -> Any:
    """Try an undo again"""
    return _act(trace_id, step_span_id, lambda: _retried(recovery.retry_compensation, trace_id, step_span_id))


@page("POST", f"{_STEP}/resolve", permission=RECOVER)
def saga_resolve(trace_id: str, step_span_id: str) -> Any:
    """Say what came of a call"""
    return _act(trace_id, step_span_id, lambda: _resolved(trace_id, step_span_id))


@page("POST", "/sagas/<trace_id>/cancel", permission=RECOVER)
def saga_cancel(trace_id: str) -> Any:
    """Give a saga up"""
    return _act(trace_id, None, lambda: _cancelled(trace_id))


def _retried(act: Callable[..., dict[str, Any]], trace_id: str, span: str) -> str:
    """The token was made with the form: however often it is sent, it acts once."""
    token = text("recovery_token", 128) or None
    flags = {name: name in request.form for name in ("force", "allow_destructive")}
    request = Retry(token=token, reason=text("reason") or None, arguments=_arguments(), **flags)
    return str(act(deps().database, person(), StepRef(_trace(trace_id), span), request)["status"])


def _arguments() -> dict[str, Any] | None:
    given = request.form.get("arguments", "").strip()
    found = read_text(given, "arguments") if given else None
    if found is not None and not isinstance(found, dict):
        raise Invalid([FieldError("arguments", 'is not an object, like {"id": "R-7"}')])
    return found


def _resolved(trace_id: str, span: str) -> str:
    outcome, evidence = request.form.get("outcome"), text("evidence")
    if outcome not in ("done", "not_done"):
        raise Invalid([FieldError("outcome", "say whether it was done")])
    if not evidence:
        raise Invalid([FieldError("evidence", "say how you know: it is kept with the step")])
    done, which = outcome == "done", StepRef(_trace(trace_id), span)
    output = _output() if done else None
    answer = recovery.resolve(deps().database, person(), which, done=done, output=output, evidence=evidence)
    return str(answer["status"])


def _cancelled(trace_id: str) -> str:
    cancel_saga(deps().database, person(), _trace(trace_id), text("reason") or None)
    return "cancelled"


def _output() -> Any:
    given = request.form.get("output", "").strip()
    return read_text(given, "output") if given else None


def _act(trace_id: str, span: str | None, act: Callable[[], str]) -> Any:
    """The page again: with what came of it, or with why nothing did and what was typed."""
    try:
        said = act()
    except (Conflict, Invalid) as domain_error:
        shown = _shown(trace_id) | {"refusal": _told(domain_error), "typed": request.form, "typed_for": span}
        return render("saga.html", status_of(type(domain_error)), **shown)
    return redirect(f"/sagas/{trace_id}?said={said}", 303)


def _told(domain_error: DomainError) -> list[str]:
    if isinstance(domain_error, Invalid) and domain_error.field_errors:
        return [f"{field_error.path}: {field_error.message}" for field_error in domain_error.field_errors]
    # The API's words name its parameters, these name what stands on the page.
    return [REFUSED.get(domain_error.code, domain_error.detail[:1].upper() + domain_error.detail[1:])]


def _shown(trace_id: str) -> dict[str, Any]:
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
        "means": {span_text(step.span_id): _means(saga, definition, step) for step in saga.all_steps if may_recover},
        "may_cancel": may_recover and saga.status not in {*TERMINAL, SagaStatus.COMPENSATING},
        "ended": saga.status in TERMINAL,
        # The page's script compares it: whether there is something new to show.
        "version": digest([document, [asdict(row) for row in rows]]),
        "new_token": lambda: secrets.token_hex(16),
        "refusal": [],
        "typed": {},
        "typed_for": None,
    }


def _means(saga: Saga, definition: SagaDefinition, step: Step) -> list[str]:
    """What may be done with the step as it stands, as the table in services/sagas/recovery.py has it."""
    at_it = step.status is StepStatus.IN_PROGRESS
    is_undo = step.compensates is not None
    found = []
    if saga.stuck is not None:
        return [("retry-compensation" if is_undo else "retry-step")] if step == saga.current else []
    if step.outcome_unknown and (is_undo or definition.step(step.id).kind is StepKind.COMMIT):
        found.append("resolve")
    if not is_undo and at_it and saga.status is SagaStatus.RUNNING:
        found.append("retry-step")
    if step.undo_failed or (is_undo and at_it):
        found.append("retry-compensation")
    if step.undo_failed:
        found.append("resolve")
    return found


def _trace(trace_id: str) -> UUID:
    found = ids.parse("", trace_id)
    if found is None:
        raise NotFound(f"{trace_id[:64]!r} is not the trace id of a saga")
    return found
