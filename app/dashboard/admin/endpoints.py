"""/endpoints: the servers that webhooks go to."""

from typing import Any

from flask import redirect

from app.dashboard.framework.form_fields import namespaces, text, words
from app.dashboard.framework.lists import next_link, wanted_page
from app.dashboard.framework.page_decorator import page, person, render
from app.deps import deps
from domain.delivery.webhook import EVENT_TYPES
from domain.identity.access import Permission
from domain.values.errors import FieldError, Invalid
from services.webhooks import endpoints as use_cases
from services.webhooks.endpoints import EndpointChange

MANAGE = Permission.ENDPOINT_MANAGE
MAX_URL, MAX_DESCRIPTION = 2048, 500


@page("GET", "/endpoints", permission=Permission.ENDPOINT_READ)
def endpoints() -> Any:
    """List the endpoints; operators may only read."""
    return _show()


@page("POST", "/endpoints", permission=MANAGE)
def add_endpoint() -> Any:
    """Create an endpoint; only this response shows its secret."""
    new = EndpointChange(
        url=text("url", MAX_URL),
        namespaces=namespaces(),
        event_types=words("event_types"),
        description=text("description", MAX_DESCRIPTION),
    )
    unknown = [name for name in new.event_types or () if name not in EVENT_TYPES]
    if unknown:
        raise Invalid([FieldError("event_types", f"{name[:64]!r} is not an event type") for name in unknown])
    made, _ = use_cases.create_endpoint(deps().database, person(), new, None)
    return _show(secret=made)


@page("POST", "/endpoints/<endpoint_id>/rotate", permission=MANAGE)
def rotate_endpoint(endpoint_id: str) -> Any:
    return _show(secret=use_cases.rotate_endpoint_secret(deps().database, person(), endpoint_id))


@page("POST", "/endpoints/<endpoint_id>/enable", permission=MANAGE)
def enable_endpoint(endpoint_id: str) -> Any:
    use_cases.change_endpoint(deps().database, person(), endpoint_id, EndpointChange(enabled=True))
    return redirect("/endpoints", 303)


@page("POST", "/endpoints/<endpoint_id>/disable", permission=MANAGE)
def disable_endpoint(endpoint_id: str) -> Any:
    use_cases.change_endpoint(deps().database, person(), endpoint_id, EndpointChange(enabled=False))
    return redirect("/endpoints", 303)


@page("POST", "/endpoints/<endpoint_id>/test", permission=MANAGE)
def try_endpoint(endpoint_id: str) -> Any:
    """Send a test webhook, and show the deliveries, where its result appears."""
    use_cases.test_endpoint(deps().database, person(), endpoint_id)
    return redirect("/webhooks", 303)


@page("POST", "/endpoints/<endpoint_id>/delete", permission=MANAGE)
def remove_endpoint(endpoint_id: str) -> Any:
    use_cases.delete_endpoint(deps().database, person(), endpoint_id)
    return redirect("/endpoints", 303)


def _show(secret: dict[str, Any] | None = None) -> Any:
    found = use_cases.list_endpoints(deps().database, person(), wanted_page())
    return render(
        "admin_endpoints.html",
        endpoints=found.items,
        next_link=next_link(found),
        made=secret,
        event_types=EVENT_TYPES,
    )
