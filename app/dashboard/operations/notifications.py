"""/notifications: the messages about reviews and sagas that wait for a person."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from flask import redirect, request

from app.dashboard.framework.lists import choice_filter, id_filter, next_link, text_filter, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from domain.delivery.notification import NotificationStatus
from domain.identity.access import Permission
from domain.values import ids
from services.notifications.queries import NotificationFilter, list_notifications, retry_notification

NOTICES = {"retried": "The notification is being sent again."}


@page("GET", "/notifications", permission=Permission.NOTIFICATION_READ)
def notifications() -> Any:
    """List notifications, newest first."""
    wrong: list[str] = []
    wanted = NotificationFilter(
        status=choice_filter("status", NotificationStatus),
        namespace=text_filter("namespace"),
        watch_id=id_filter("pause", ids.WATCH, wrong),
        recipient=text_filter("recipient"),
    )
    if (trace_id := id_filter("trace_id", "", wrong)) is not None:
        wanted = replace(wanted, trace_id=UUID(hex=trace_id))
    found = list_notifications(deps().database, person(), wanted, wanted_page())
    return render(
        "notifications.html",
        notice=NOTICES.get(request.args.get("said", "")),
        notifications=found.items,
        next_link=next_link(found),
        filters=request.args,
        filtered=wanted != NotificationFilter(),
        statuses=list(NotificationStatus),
        wrong=wrong,
    )


@page("POST", "/notifications/<notification_id>/retry", permission=Permission.DELIVERY_MANAGE)
def notification_retry(notification_id: str) -> Any:
    """Send a failed notification again."""
    retry_notification(deps().database, person(), notification_id)
    return redirect("/notifications?said=retried", 303)
