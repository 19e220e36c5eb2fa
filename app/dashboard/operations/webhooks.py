"""/webhooks: what was sent where, how it went, and what an operator does about it."""

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
# How far back one may ask for what an endpoint did not get. Hours.
SINCE = {"1": "the last hour", "24": "the last 24 hours", "120": "the last 5 days", "720": "the last 30 days"}
SAID = {
    "sent": "It is on its way again, under the same webhook-id.",
    "moved": "Nothing was done: it has been attempted since this page was loaded. Look again.",
    "tested": "A webhook.test is on its way to the endpoint.",
}


@page("GET", "/webhooks", permission=MANAGE)
def webhooks() -> Any:
    """Deliveries, the newest first, and how the endpoints fare"""
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
    """One delivery with its attempts"""
    found = deliveries.get_delivery(deps().database, person(), delivery_id)
    return render("webhook.html", delivery=found, notice=SAID.get(request.args.get("said", "")))


@page("POST", "/webhooks/<delivery_id>/redeliver", permission=MANAGE)
def webhook_redeliver(delivery_id: str) -> Any:
    """Send it again; not where it was attempted since the person looked: that may have been this form's first copy"""
    found = deliveries.get_delivery(deps().database, person(), delivery_id)
    if request.form.get("attempts") != str(found["attempts"]):
        return redirect(f"/webhooks/{delivery_id}?said=moved", 303)
    deliveries.redeliver(deps().database, person(), delivery_id)
    return redirect(f"/webhooks/{delivery_id}?said=sent", 303)


@page("POST", "/webhooks/endpoints/<endpoint_id>/test", permission=MANAGE)
def webhook_test(endpoint_id: str) -> Any:
    """Send the endpoint a message that means nothing"""
    sent = endpoints.test_endpoint(deps().database, person(), endpoint_id)
    return redirect(f"/webhooks/{sent['delivery_id']}?said=tested", 303)


@page("POST", "/webhooks/endpoints/<endpoint_id>/recover", permission=MANAGE)
def webhook_recover(endpoint_id: str) -> Any:
    """Send the endpoint what it did not get"""
    hours = request.form.get("since")
    if hours not in SINCE:
        raise Invalid([FieldError("since", "say from when on")])
    since = datetime.now(UTC) - timedelta(hours=int(hours))
    number = deliveries.recover(deps().database, person(), endpoint_id, since)
    return redirect(f"/webhooks?recovered={number}", 303)


def _recovered(number: str) -> str | None:
    if not number.isdecimal():
        return None
    if number == "0":
        return "It missed nothing in that time: nothing was sent."
    return f"On their way again: {number[:6]}."
