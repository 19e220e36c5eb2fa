"""/inbox/decided: the decided reviews, latest decision first."""

from datetime import UTC, datetime
from typing import Any

from flask import request

from app.dashboard.display.door import door_choices
from app.dashboard.framework.lists import choice_filter, midnight, next_link, text_filter, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.reviews.inbox import KINDS
from app.deps import deps
from domain.identity.access import Permission
from domain.pauses.client_words import client_words
from domain.pauses.consumption import MISSING, NEEDS_LOOK, ExecutionStatus
from domain.pauses.door import door_of
from domain.pauses.pause import Pause, Status
from domain.pauses.serialization import pause_document
from domain.pauses.use_summary import use_of
from services.pauses.queries import Filter, count_needing_look
from services.reviews.decided import ME, list_decided

# The values of the filter by the use of the approval.
USES = {
    "unused": "not used yet",
    MISSING: "outcome missing",
    **{str(status): f"outcome {status}" for status in ExecutionStatus},
    NEEDS_LOOK: "needs a look",
}
OUTCOMES = [status for status in Status if status is not Status.PENDING]


@page("GET", "/inbox/decided", permission=Permission.PAUSE_READ)
def decided_reviews() -> Any:
    kind, status, use = text_filter("kind"), choice_filter("status", Status), request.args.get("use")
    unused = use == "unused"
    wanted = Filter(
        status=Status.APPROVED if unused else status if status in OUTCOMES else None,
        consumed=False if unused else None,
        outcome=use if use in USES and not unused else None,
        namespace=text_filter("namespace"),
        kind=kind if kind in KINDS else None,
        tag=text_filter("tag"),
        text=text_filter("text"),
        door=door_of(request.args),
        decided=True,
        decided_by=ME if request.args.get("mine") == "1" else text_filter("by"),
        decided_after=midnight(request.args.get("since", "")),
        decided_before=midnight(request.args.get("until", ""), days=1),
    )
    now = datetime.now(UTC)
    found = list_decided(deps().database, person(), wanted, wanted_page())
    return render(
        "decided.html",
        pauses=[
            (document, use_of(document, now), client_words(document["metadata"]).title)
            for document in map(_document, found.items)
        ],
        look=count_needing_look(deps().database, person()),
        uses=USES,
        next_link=next_link(found),
        filters=request.args,
        filtered=wanted != Filter(decided=True),
        mine=wanted.decided_by == ME,
        outcomes=OUTCOMES,
        kinds=KINDS,
        doors=door_choices(wanted.door),
    )


def _document(pause: Pause) -> dict[str, Any]:
    return pause_document(pause, deps().database.public_url)
