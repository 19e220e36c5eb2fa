"""GET /inbox/events: changes of the inbox's first page, as Server-Sent Events.

Each `reviews` event carries the whole order and the HTML of each row that is new or changed. A missed event does no
harm: a client that reconnects receives the full page.
"""

import time
from collections.abc import Iterator
from uuid import UUID

from flask import Response, g, render_template

from app.dashboard.framework.lists import PAGE_SIZE
from app.dashboard.framework.page_decorator import own_session, page, person
from app.dashboard.reviews.inbox import counted, wanted_filter
from app.dashboard.reviews.inbox_rows import rows_of
from app.deps import deps
from app.http.sse import event, is_over, stream_of, wakeups
from domain.identity.access import Permission
from domain.values.ids import INBOX
from services.identity.sessions import find_session
from services.kernel.pagination import Page
from services.reviews.inbox import InboxFilter, inbox

# Seconds between comments, which keep proxies from closing the stream and reveal a client that has gone.
KEEP_ALIVE = 5.0
# Seconds between two reads of the database; changes within them reach the client as one event. The least, and the most
# while many inboxes are open.
MIN_INTERVAL, MAX_INTERVAL = 0.3, 5.0
# The part of its time that a process spends for open inboxes while pauses change. Without a limit 40 of them took most
# of it, and creates fell to a third.
SHARE = 0.1


@page("GET", "/inbox/events", permission=Permission.PAUSE_READ, by_itself=True)
def inbox_events() -> Response:
    return stream_of(_stream(wanted_filter()))


def _stream(wanted: InboxFilter) -> Iterator[str]:
    shown: dict[str, str] | None = None
    began = sent_at = time.monotonic()
    with wakeups(INBOX) as changed:
        while True:
            if changed is not None:
                changed.clear()
            reads_at = time.monotonic()
            if not _still_signed_in():
                yield event("signed-out", {})
                return
            now, next_after = _rows(wanted)
            took = time.monotonic() - reads_at
            if now != shown:
                yield _event(shown or {}, now, counted(wanted), next_after)
                shown, sent_at = now, time.monotonic()
            elif time.monotonic() - sent_at > KEEP_ALIVE:
                yield ": nothing new\n\n"
                sent_at = time.monotonic()
            if changed is None or is_over(began):
                return
            deps().subscriber.sleep(interval(took, deps().subscriber.waiting_for(INBOX)))
            changed.wait(KEEP_ALIVE)


def interval(took: float, inboxes: int) -> float:
    """Return the seconds until the next read of one of so many inboxes, after a read that took so long."""
    return min(MAX_INTERVAL, max(MIN_INTERVAL, took * inboxes / SHARE))


def _still_signed_in() -> bool:
    """Reload the person, because their namespaces or role may have changed; return whether they may still read."""
    session = find_session(deps().database, own_session().token, active=False)
    if session is None or not session.person.may(Permission.PAUSE_READ):
        return False
    g.principal = session.person
    return True


def _rows(wanted: InboxFilter) -> tuple[dict[str, str], UUID | None]:
    """Return the HTML of each row by id, in order, and the start of the next page."""
    found = inbox(deps().database, person(), wanted, Page(PAGE_SIZE))
    rows = {row.pause["watchId"]: render_template("inbox_row.html", row=row) for row in rows_of(found.items)}
    return rows, found.next_after


def _event(before: dict[str, str], now: dict[str, str], count: str, next_after: UUID | None) -> str:
    changed = {watch_id: html for watch_id, html in now.items() if before.get(watch_id) != html}
    cursor = None if next_after is None else next_after.hex
    return event("reviews", {"count": count, "order": list(now), "rows": changed, "cursor": cursor})
