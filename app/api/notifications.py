"""/v1/notifications: messages about reviews and sagas, and their delivery (operators)."""

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
    description="Messages to people about reviews and sagas that wait for them",
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
    """List notifications, newest first

    There is one notification per review or saga, recipient and channel. The response shows channels without their
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
    """Send a failed or waiting notification now

    It uses the same channel and restarts the full retry schedule. The review or saga must still wait.
    """
    return json_response(use_cases.retry_notification(deps().database, g.principal, notification_id), 202)
