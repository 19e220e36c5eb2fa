"""/inbox: the reviews that wait for a decision, most urgent first, then oldest first."""

from dataclasses import asdict
from typing import Any

from flask import request

from app.dashboard.display.door import door_choices
from app.dashboard.framework.lists import next_link, text_filter, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.reviews.inbox_rows import rows_of
from app.deps import deps
from domain.identity.access import ALL_NAMESPACES, Permission
from domain.pauses.door import door_of
from domain.pauses.pause import AGENT, STEP
from services.pauses.queries import count_needing_look
from services.reviews.inbox import InboxFilter, count_waiting, inbox

# A larger count is shown as `100+`.
MANY = 100
KINDS = {AGENT: "agents", STEP: "saga steps"}


@page("GET", "/inbox", permission=Permission.PAUSE_READ)
def inbox_page() -> Any:
    wanted, part = wanted_filter(), wanted_page()
    found = inbox(deps().database, person(), wanted, part)
    return render(
        "inbox.html",
        rows=rows_of(found.items),
        count=counted(wanted),
        next_link=next_link(found),
        first_page=part.after is None,
        wanted=wanted,
        filtered=any(asdict(wanted).values()),
        kinds=KINDS,
        doors=door_choices(wanted.door),
        namespaces=[] if person().sees_all else list(person().namespaces),
        example=_example(),
        look=count_needing_look(deps().database, person()),
    )


def wanted_filter() -> InboxFilter:
    kind = text_filter("kind")
    return InboxFilter(
        namespace=text_filter("namespace"),
        kind=kind if kind in KINDS else None,
        tag=text_filter("tag"),
        text=text_filter("text"),
        door=door_of(request.args),
        mine=request.args.get("mine") == "1",
    )


def counted(wanted: InboxFilter) -> str:
    """Return the number of waiting reviews as `3` or `100+`."""
    count = count_waiting(deps().database, person(), wanted, limit=MANY)
    return f"{MANY}+" if count >= MANY else str(count)


def _example() -> str:
    """Return a command by which an agent requests a review that this person can see."""
    namespace = "" if ALL_NAMESPACES in person().namespaces else f', "namespace": "{person().own_namespace}"'
    return (
        f"curl {deps().database.public_url}/api/pause \\\n"
        '  -H "Authorization: Bearer $SAGAHOLD_API_KEY" -H "Content-Type: application/json" \\\n'
        f'  -d \'{{"action": "Deploy to production (v2.4.1)"{namespace}}}\''
    )
