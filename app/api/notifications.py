"""/v1/notifications: who was told of which review or saga by which channel, and what became of it (operator)."""

from typing import Any
from uuid import UUID

from flask import Response, g

from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import json_response
from app.openapi.operation import operation
from app.schemas.notifications import NotificationListQuery, NotificationPageSchema, NotificationSchema
from domain.identity.access import Permission
from services.notifications import queries as use_cases
from services.notifications.queries import NotificationFilter

notifications = Blueprint(
    "notifications",
    __name__,
    url_prefix="/v1/notifications",
    description="Messages that tell people of reviews and sagas that wait for them",
)


@operation(
    notifications,
    "GET",
    "",
    permission=Permission.NOTIFICATION_READ,
    query=NotificationListQuery,
    answers={200: NotificationPageSchema},
)
def list_notifications(query: dict[str, Any]) -> Response:
    """List notifications, the newest first

    One for each person or group and channel that was told of a review or saga. Channels are shown without their
    secrets.
    """
    wanted = page(query)
    if "trace_id" in query:
        query["trace_id"] = UUID(hex=query["trace_id"])
    found = use_cases.list_notifications(deps().database, g.principal, NotificationFilter(**query), wanted)
    return json_response(list_document(found, lambda notification: notification))


@operation(
    notifications,
    "POST",
    "/<notification_id>/retry",
    permission=Permission.DELIVERY_MANAGE,
    answers={202: NotificationSchema},
    refuses=(404, 409),
)
def retry_notification(notification_id: str) -> Response:
    """Send one that failed, or waits for its next try, now

    By the same channel, with the whole retry schedule before it; only while the review or saga still waits.
    """
    return json_response(use_cases.retry_notification(deps().database, g.principal, notification_id), 202)
