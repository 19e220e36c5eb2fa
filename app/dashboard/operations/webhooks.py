"""/webhooks: deliveries and their attempts, and an operator's actions on them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import redirect, request

from app.dashboard.framework.lists import choice_filter, id_filter, next_link, text_filter, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from domain.delivery.webhook import EVENT_TYPES, DeliveryStatus
from domain.identity.access import Permission
from domain.values import ids
from domain.values.errors import FieldError, Invalid
from services.kernel.pagination import Page
from services.webhooks import deliveries, endpoints, failing_receivers
from services.webhooks.deliveries import DeliveryFilter

MANAGE = Permission.DELIVERY_MANAGE
# The periods for which missed deliveries can be sent again, in hours.
SINCE = {"1": "the last hour", "24": "the last 24 hours", "120": "the last 5 days", "720": "the last 30 days"}
NOTICES = {
    "sent": "The delivery is being sent again, under the same webhook-id.",
    "moved": "Nothing was sent, because an attempt was made after you loaded the page. Check its result below.",
    "tested": "A webhook.test event is being sent to the endpoint.",
}


@page("GET", "/webhooks", permission=MANAGE)
def webhooks() -> Any:
    """List deliveries, newest first, and the state of the endpoints."""
    wrong: list[str] = []
    wanted = DeliveryFilter(
        status=choice_filter("status", DeliveryStatus),
        namespace=text_filter("namespace"),
        endpoint_id=id_filter("endpoint", ids.ENDPOINT, wrong),
        watch_id=id_filter("pause", ids.WATCH, wrong),
    )
    if request.args.get("type") in EVENT_TYPES:
        wanted = replace(wanted, type=request.args["type"])
    found = deliveries.list_deliveries(deps().database, person(), wanted, wanted_page())
    known = endpoints.list_endpoints(deps().database, person(), Page(100)).items
    return render(
        "webhooks.html",
        notice=_recovered(request.args.get("recovered", "")),
        deliveries=found.items,
        next_link=next_link(found),
        endpoints=known,
        failing=failing_receivers.list_failing(deps().database, person()),
        urls={endpoint["id"]: endpoint["url"] for endpoint in known},
        filters=request.args,
        filtered=wanted != DeliveryFilter(),
        statuses=list(DeliveryStatus),
        types=EVENT_TYPES,
        since=SINCE,
        wrong=wrong,
    )


@page("GET", "/webhooks/<delivery_id>", permission=MANAGE)
def webhook_delivery(delivery_id: str) -> Any:
    """Show one delivery with its attempts."""
    found = deliveries.get_delivery(deps().database, person(), delivery_id)
    return render("webhook.html", delivery=found, notice=NOTICES.get(request.args.get("said", "")))


@page("POST", "/webhooks/<delivery_id>/redeliver", permission=MANAGE)
def webhook_redeliver(delivery_id: str) -> Any:
    """Send a delivery again, unless it was attempted since the page was loaded: the form may have been sent twice."""
    found = deliveries.get_delivery(deps().database, person(), delivery_id)
    if request.form.get("attempts") != str(found["attempts"]):
        return redirect(f"/webhooks/{delivery_id}?said=moved", 303)
    deliveries.redeliver(deps().database, person(), delivery_id)
    return redirect(f"/webhooks/{delivery_id}?said=sent", 303)


@page("POST", "/webhooks/endpoints/<endpoint_id>/test", permission=MANAGE)
def webhook_test(endpoint_id: str) -> Any:
    """Send a test event to the endpoint."""
    sent = endpoints.test_endpoint(deps().database, person(), endpoint_id)
    return redirect(f"/webhooks/{sent['delivery_id']}?said=tested", 303)


@page("POST", "/webhooks/endpoints/<endpoint_id>/recover", permission=MANAGE)
def webhook_recover(endpoint_id: str) -> Any:
    """Send the endpoint its missed deliveries again."""
    hours = request.form.get("since")
    if hours not in SINCE:
        raise Invalid([FieldError("since", "is not one of the periods in the form")])
    since = datetime.now(UTC) - timedelta(hours=int(hours))
    number = deliveries.recover(deps().database, person(), endpoint_id, since)
    return redirect(f"/webhooks?recovered={number}", 303)


def _recovered(number: str) -> str | None:
    if not number.isdecimal():
        return None
    if number == "0":
        return "The endpoint missed no delivery in that period, so nothing was sent."
    return f"Deliveries being sent again: {number[:6]}."
