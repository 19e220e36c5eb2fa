"""/review/<watch_id>: one review, the consequences of each decision, and the forms that decide."""

from collections.abc import Callable
from typing import Any

from flask import Response, redirect, request

from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.reviews import review_form
from app.dashboard.reviews.review_form import FormState
from app.dashboard.reviews.review_view import ReviewView, history, load_review, transcript
from app.deps import deps
from app.http.decisions import decide_pause
from app.http.problems import status_of
from domain.identity.access import Permission
from domain.pauses.pause import Approve, Reject
from domain.pauses.serialization import pause_id
from domain.values.errors import AlreadyResolved, Conflict, DomainError, FieldError, Invalid, RevisionChanged
from domain.values.json_diff import differences
from services.pauses.execution import settle_outcome
from services.pauses.lifecycle import actor
from services.pauses.receipts import issue_receipt
from services.reviews.claims import claim, unclaim
from services.reviews.step_decisions import rerun_step

DECIDE = Permission.PAUSE_DECIDE


@page("GET", "/review/<watch_id>", permission=Permission.PAUSE_READ, link_ok=True)
def review(watch_id: str) -> Any:
    return _page(load_review(person(), watch_id))


@page("GET", "/review/<watch_id>/progress", permission=Permission.PAUSE_READ, link_ok=True, by_itself=True)
def review_progress(watch_id: str) -> Any:
    """Return the part of the page that updates itself, for the page's script."""
    view = load_review(person(), watch_id)
    response = render("review_progress.html", view=view, pause=view.document)
    response.add_etag()
    return response.make_conditional(request)


@page("GET", "/review/<watch_id>/receipt", permission=Permission.PAUSE_READ, link_ok=True)
def review_receipt(watch_id: str) -> Response:
    """Return the receipt as a file. `sagahold receipt verify` reads it."""
    receipt = issue_receipt(deps().database, deps().signer, person(), pause_id(watch_id))
    name = f'attachment; filename="{watch_id}.jws"'
    return Response(f"{receipt}\n", content_type="application/jose", headers={"Content-Disposition": name})


@page("POST", "/review/<watch_id>/change", permission=DECIDE, link_ok=True)
def review_change(watch_id: str) -> Any:
    """Preview an edit without deciding."""

    def show() -> Any:
        view = load_review(person(), watch_id)
        review_form.check_current(view)
        arguments = review_form.edited(view)
        if not list(differences(view.pause.arguments, arguments, view.subject)):
            return _page(view, problem="Your edit changes nothing. Approve the review as it is, or edit it again.")
        return _confirm(view, arguments)

    return _with_errors(watch_id, show)


@page("POST", "/review/<watch_id>/approve", permission=DECIDE, link_ok=True)
def review_approve(watch_id: str) -> Any:
    def approve() -> Any:
        view = load_review(person(), watch_id)
        command = Approve(
            actor(person()),
            comment=review_form.comment(),
            arguments=review_form.confirmed(),
            response=review_form.response(view),
            revision=review_form.revision(),
        )
        return _decide(watch_id, command)

    return _with_errors(watch_id, approve)


@page("POST", "/review/<watch_id>/reject", permission=DECIDE, link_ok=True)
def review_reject(watch_id: str) -> Any:
    def reject() -> Any:
        response = review_form.response_to_reject_with(load_review(person(), watch_id))
        return _decide(watch_id, Reject(actor(person()), review_form.comment(), response, review_form.revision()))

    return _with_errors(watch_id, reject)


@page("POST", "/review/<watch_id>/retry", permission=Permission.STEP_DECIDE, link_ok=True)
def review_retry(watch_id: str) -> Any:
    def rerun() -> Any:
        view = load_review(person(), watch_id)
        review_form.check_current(view)
        step, guidance = review_form.step_of(view), review_form.guidance()
        rerun_step(deps().database, person(), step, guidance, None, review_form.revision())
        return _back(watch_id)

    return _with_errors(watch_id, rerun)


@page("POST", "/review/<watch_id>/settle", permission=Permission.OUTCOME_SETTLE)
def review_settle(watch_id: str) -> Any:
    """Record what an operator found out about a missing or unknown outcome."""

    def settle() -> Any:
        status, note = review_form.settled()
        settle_outcome(deps().database, person(), pause_id(watch_id), status, note)
        return _back(watch_id)

    return _with_errors(watch_id, settle)


@page("POST", "/review/<watch_id>/claim", permission=DECIDE, link_ok=True)
def review_claim(watch_id: str) -> Any:
    def take() -> Any:
        claim(deps().database, person(), pause_id(watch_id), take_over="take_over" in request.form)
        return _back(watch_id)

    return _with_errors(watch_id, take)


@page("POST", "/review/<watch_id>/unclaim", permission=DECIDE, link_ok=True)
def review_unclaim(watch_id: str) -> Any:
    def release() -> Any:
        unclaim(deps().database, person(), pause_id(watch_id))
        return _back(watch_id)

    return _with_errors(watch_id, release)


def _decide(watch_id: str, command: Approve | Reject) -> Any:
    decide_pause(person(), pause_id(watch_id), command)
    return _back(watch_id)


def _back(watch_id: str) -> Any:
    return redirect(f"/review/{watch_id}", 303)


def _with_errors(watch_id: str, act: Callable[[], Any]) -> Any:
    """Return the action's response, or the current review with the error and the person's input."""
    try:
        return act()
    except Invalid as invalid:
        view = load_review(person(), watch_id)
        arguments = review_form.confirmed_or_none(view)
        if arguments is not None:
            return _confirm(view, arguments, invalid.field_errors)
        return _page(view, 422, field_errors=invalid.field_errors)
    except (AlreadyResolved, RevisionChanged) as late:
        return _too_late(load_review(person(), watch_id), late)
    except Conflict as conflict:
        return _page(load_review(person(), watch_id), status_of(type(conflict)), problem=conflict.detail)


def _too_late(view: ReviewView, late: DomainError) -> Response:
    before = review_form.shown_arguments()
    changes = [] if before is None else list(differences(before, view.pause.arguments, view.subject))
    if view.pending:
        problem = f"The {view.subject} changed while you read, so your decision was not recorded. Read the new version."
    else:
        problem = "This review was decided before you sent your decision, so yours does not count."
    return _page(view, 409, problem=problem, changed_since=changes)


def _page(
    view: ReviewView, status: int = 200, *, problem: str = "", field_errors: Any = (), changed_since: Any = ()
) -> Response:
    watch_id = view.document["watchId"]
    return render(
        "review.html",
        status,
        view=view,
        pause=view.document,
        typed=FormState(view, field_errors),
        problem=problem,
        changed_since=changed_since,
        transcript=transcript(person(), view),
        history=history(person(), view.pause, watch_id),
    )


def _confirm(view: ReviewView, arguments: dict[str, Any], field_errors: tuple[FieldError, ...] = ()) -> Response:
    changes = list(differences(view.pause.arguments, arguments, view.subject))
    return render(
        "review_change.html",
        422 if field_errors else 200,
        view=view,
        pause=view.document,
        typed=FormState(view, field_errors),
        arguments=arguments,
        changes=changes,
    )
