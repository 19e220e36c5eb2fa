"""/review/<watch_id>: one review. What is asked, what each answer will bring about, and the answers."""

from collections.abc import Callable
from typing import Any

from flask import Response, redirect, request

from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.reviews import review_form
from app.dashboard.reviews.review_form import FormState
from app.dashboard.reviews.review_view import ReviewView, history, look, transcript
from app.deps import deps
from app.http.problems import status_of
from domain.identity.access import Permission
from domain.pauses.pause import Approve, Reject
from domain.values.errors import AlreadyResolved, Conflict, DomainError, FieldError, Invalid, RevisionChanged
from domain.values.json_diff import differences
from services.pauses.lifecycle import actor
from services.reviews.claims import claim, unclaim
from services.reviews.decisions import decide_pause
from services.reviews.step_decisions import rerun_step

DECIDE = Permission.PAUSE_DECIDE


@page("GET", "/review/<watch_id>", permission=Permission.PAUSE_READ, link_ok=True)
def review(watch_id: str) -> Any:
    return _page(look(person(), watch_id))


@page("GET", "/review/<watch_id>/progress", permission=Permission.PAUSE_READ, link_ok=True, by_itself=True)
def review_progress(watch_id: str) -> Any:
    """The part that changes by itself, for a page that is open."""
    seen = look(person(), watch_id)
    response = render("review_progress.html", look=seen, pause=seen.document)
    response.add_etag()
    return response.make_conditional(request)


@page("POST", "/review/<watch_id>/change", permission=DECIDE, link_ok=True)
def review_change(watch_id: str) -> Any:
    """Shows what an edit would change. Nothing is decided yet."""

    def show() -> Any:
        seen = look(person(), watch_id)
        review_form.check_seen(seen)
        arguments = review_form.edited(seen)
        if not list(differences(seen.pause.arguments, arguments, seen.subject)):
            return _page(seen, notice="You have changed nothing: approve it as it is, or edit it again.")
        return _confirm(seen, arguments)

    return _with_errors(watch_id, show)


@page("POST", "/review/<watch_id>/approve", permission=DECIDE, link_ok=True)
def review_approve(watch_id: str) -> Any:
    def approve() -> Any:
        seen = look(person(), watch_id)
        command = Approve(
            actor(person()),
            comment=review_form.comment(),
            arguments=review_form.carried(),
            response=review_form.response(seen),
            revision=review_form.revision(),
        )
        return _decide(watch_id, command)

    return _with_errors(watch_id, approve)


@page("POST", "/review/<watch_id>/reject", permission=DECIDE, link_ok=True)
def review_reject(watch_id: str) -> Any:
    def reject() -> Any:
        return _decide(watch_id, Reject(actor(person()), review_form.comment(), revision=review_form.revision()))

    return _with_errors(watch_id, reject)


@page("POST", "/review/<watch_id>/retry", permission=Permission.STEP_DECIDE, link_ok=True)
def review_retry(watch_id: str) -> Any:
    def rerun() -> Any:
        seen = look(person(), watch_id)
        review_form.check_seen(seen)
        which, guidance = review_form.step_of(seen), review_form.guidance()
        rerun_step(deps().database, person(), which, guidance, None, review_form.revision())
        return _back(watch_id)

    return _with_errors(watch_id, rerun)


@page("POST", "/review/<watch_id>/claim", permission=DECIDE, link_ok=True)
def review_claim(watch_id: str) -> Any:
    def take() -> Any:
        claim(deps().database, person(), watch_id, take_over="take_over" in request.form)
        return _back(watch_id)

    return _with_errors(watch_id, take)


@page("POST", "/review/<watch_id>/unclaim", permission=DECIDE, link_ok=True)
def review_unclaim(watch_id: str) -> Any:
    def release() -> Any:
        unclaim(deps().database, person(), watch_id)
        return _back(watch_id)

    return _with_errors(watch_id, release)


def _decide(watch_id: str, command: Approve | Reject) -> Any:
    decide_pause(deps().database, person(), watch_id, command)
    return _back(watch_id)


def _back(watch_id: str) -> Any:
    return redirect(f"/review/{watch_id}", 303)


def _with_errors(watch_id: str, act: Callable[[], Any]) -> Any:
    """What the act answers; or the review as it is now, saying why not, with everything that was typed."""
    try:
        return act()
    except Invalid as invalid:
        seen = look(person(), watch_id)
        arguments = review_form.carried_or_none(seen)
        if arguments is not None:
            return _confirm(seen, arguments, invalid.field_errors)
        return _page(seen, 422, field_errors=invalid.field_errors)
    except (AlreadyResolved, RevisionChanged) as late:
        return _too_late(look(person(), watch_id), late)
    except Conflict as conflict:
        return _page(look(person(), watch_id), status_of(type(conflict)), notice=conflict.detail)


def _too_late(seen: ReviewView, late: DomainError) -> Response:
    before = review_form.seen_arguments()
    changes = [] if before is None else list(differences(before, seen.pause.arguments, seen.subject))
    if seen.pending:
        notice = f"The {seen.subject} were changed while you read. Nothing was decided by you: read what it says now."
    else:
        notice = "Too late: this was decided before your answer came, so yours does not count."
    return _page(seen, 409, notice=notice, changed_since=changes)


def _page(
    seen: ReviewView, status: int = 200, *, notice: str = "", field_errors: Any = (), changed_since: Any = ()
) -> Response:
    watch_id = seen.document["watchId"]
    return render(
        "review.html",
        status,
        look=seen,
        pause=seen.document,
        typed=FormState(seen, field_errors),
        refused=notice,
        changed_since=changed_since,
        transcript=transcript(person(), seen),
        history=history(person(), seen.pause, watch_id),
    )


def _confirm(seen: ReviewView, arguments: dict[str, Any], field_errors: tuple[FieldError, ...] = ()) -> Response:
    changes = list(differences(seen.pause.arguments, arguments, seen.subject))
    return render(
        "review_change.html",
        422 if field_errors else 200,
        look=seen,
        pause=seen.document,
        typed=FormState(seen, field_errors),
        arguments=arguments,
        changes=changes,
    )
