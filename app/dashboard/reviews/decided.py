"""/inbox/decided: the decided reviews, latest decision first."""

from typing import Any

from flask import request

from app.dashboard.framework.lists import choice_filter, midnight, next_link, text_filter, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.reviews.inbox import KINDS
from app.deps import deps
from domain.identity.access import Permission
from domain.pauses.pause import Status
from domain.pauses.serialization import pause_document
from services.pauses.lifecycle import Filter
from services.reviews.decided import ME, list_decided

OUTCOMES = [status for status in Status if status is not Status.PENDING]


@page("GET", "/inbox/decided", permission=Permission.PAUSE_READ)
def decided_reviews() -> Any:
    kind, status = text_filter("kind"), choice_filter("status", Status)
    wanted = Filter(
        status=status if status in OUTCOMES else None,
        namespace=text_filter("namespace"),
        kind=kind if kind in KINDS else None,
        tag=text_filter("tag"),
        text=text_filter("text"),
        decided=True,
        decided_by=ME if request.args.get("mine") == "1" else text_filter("by"),
        decided_after=midnight(request.args.get("since", "")),
        decided_before=midnight(request.args.get("until", ""), days=1),
    )
    found = list_decided(deps().database, person(), wanted, wanted_page())
    return render(
        "decided.html",
        pauses=[pause_document(pause, deps().database.public_url) for pause in found.items],
        next_link=next_link(found),
        filters=request.args,
        filtered=wanted != Filter(decided=True),
        mine=wanted.decided_by == ME,
        outcomes=OUTCOMES,
        kinds=KINDS,
    )
