"""/v1/webhooks: endpoints (admins; operators may read them), deliveries (operators) and the callbacks' secret."""

from typing import Any

from flask import Response, g

from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import created, json_response
from app.openapi.operation import idempotent_request, operation
from app.schemas.fields import PageQuery
from app.schemas.webhooks import (
    DeliveryListQuery,
    DeliveryPageSchema,
    DeliverySchema,
    DeliveryWithAttemptsSchema,
    EndpointChangeSchema,
    EndpointPageSchema,
    EndpointSchema,
    EndpointWithSecretSchema,
    NamespaceQuery,
    NewEndpointSchema,
    RecoveredSchema,
    RecoverSchema,
    SecretSchema,
    TestSentSchema,
)
from domain.identity.access import Permission
from services.webhooks import deliveries, endpoints, signing
from services.webhooks.deliveries import DeliveryFilter
from services.webhooks.endpoints import EndpointChange

webhooks = Blueprint(
    "webhooks", __name__, url_prefix="/v1/webhooks", description="Signed events for your servers (Standard Webhooks)"
)
READ, MANAGE = Permission.ENDPOINT_READ, Permission.ENDPOINT_MANAGE
DELIVERIES, SECRET = Permission.DELIVERY_MANAGE, Permission.SIGNING_SECRET_READ


@operation(
    webhooks,
    "POST",
    "/endpoints",
    permission=MANAGE,
    body=NewEndpointSchema,
    example={"url": "https://example.com/hooks/sagahold", "namespaces": ["default"], "event_types": ["pause.created"]},
    answers={201: EndpointWithSecretSchema, 200: EndpointWithSecretSchema},
    creates=True,
)
def create_endpoint(body: dict[str, Any]) -> Response:
    """Create an endpoint

    Sagahold sends the events of its namespaces to the URL, signed with the endpoint's own secret. Only this response
    shows the secret.
    """
    return created(*endpoints.create_endpoint(deps().database, g.principal, _change(body), idempotent_request()))


@operation(webhooks, "GET", "/endpoints", permission=READ, query=PageQuery, answers={200: EndpointPageSchema})
def list_endpoints(query: dict[str, Any]) -> Response:
    """List endpoints, newest first

    The list contains the endpoints whose namespaces the caller may all see. It shows no secrets, and header values only
    to admins.
    """
    found = endpoints.list_endpoints(deps().database, g.principal, page(query))
    return json_response(list_document(found, lambda endpoint: endpoint))


@operation(webhooks, "GET", "/endpoints/<endpoint_id>", permission=READ, answers={200: EndpointSchema}, refuses=(404,))
def get_endpoint(endpoint_id: str) -> Response:
    """Read an endpoint

    The response shows no secret; `rotate-secret` creates a new one. Only admins see header values, others `***`.
    """
    return json_response(endpoints.get_endpoint(deps().database, g.principal, endpoint_id))


@operation(
    webhooks,
    "PATCH",
    "/endpoints/<endpoint_id>",
    permission=MANAGE,
    body=EndpointChangeSchema,
    example={"enabled": False},
    answers={200: EndpointSchema},
    refuses=(404,),
)
def change_endpoint(body: dict[str, Any], endpoint_id: str) -> Response:
    """Change, disable or enable an endpoint

    Omitted fields stay. An enabled endpoint receives new events; `recover` sends those that it missed.
    """
    return json_response(endpoints.change_endpoint(deps().database, g.principal, endpoint_id, _change(body)))


@operation(webhooks, "DELETE", "/endpoints/<endpoint_id>", permission=MANAGE, answers={204: None}, refuses=(404,))
def delete_endpoint(endpoint_id: str) -> Response:
    """Delete an endpoint

    Its deliveries stay readable. Sagahold gives up those that wait.
    """
    endpoints.delete_endpoint(deps().database, g.principal, endpoint_id)
    return Response(status=204)


@operation(
    webhooks,
    "POST",
    "/endpoints/<endpoint_id>/rotate-secret",
    permission=MANAGE,
    answers={200: EndpointWithSecretSchema},
    refuses=(404,),
)
def rotate_endpoint_secret(endpoint_id: str) -> Response:
    """Rotate the secret of an endpoint

    Both secrets sign for 24 hours. Only this response shows the new secret.
    """
    return json_response(endpoints.rotate_endpoint_secret(deps().database, g.principal, endpoint_id))


@operation(
    webhooks,
    "POST",
    "/endpoints/<endpoint_id>/test",
    permission=DELIVERIES,
    answers={202: TestSentSchema},
    refuses=(404, 409),
)
def test_endpoint(endpoint_id: str) -> Response:
    """Send a `webhook.test` event to an endpoint

    It is signed like all events and has no further meaning. The delivery shows the result.
    """
    return json_response(endpoints.test_endpoint(deps().database, g.principal, endpoint_id), 202)


@operation(
    webhooks,
    "POST",
    "/endpoints/<endpoint_id>/recover",
    permission=DELIVERIES,
    body=RecoverSchema,
    example={"since": "2026-03-30T21:00:00.000Z"},
    answers={202: RecoveredSchema},
    refuses=(404, 409),
)
def recover_endpoint(body: dict[str, Any], endpoint_id: str) -> Response:
    """Send missed deliveries to an endpoint again

    Sends the deliveries that were given up since the time, under the same `webhook-id`.
    """
    recovered = deliveries.recover(deps().database, g.principal, endpoint_id, body["since"])
    return json_response({"recovered": recovered}, 202)


@operation(
    webhooks,
    "GET",
    "/deliveries",
    permission=DELIVERIES,
    query=DeliveryListQuery,
    answers={200: DeliveryPageSchema},
)
def list_deliveries(query: dict[str, Any]) -> Response:
    """List deliveries, newest first

    There is one delivery per event and receiver.
    """
    wanted = page(query)
    found = deliveries.list_deliveries(deps().database, g.principal, DeliveryFilter(**query), wanted)
    return json_response(list_document(found, lambda delivery: delivery))


@operation(
    webhooks,
    "GET",
    "/deliveries/<delivery_id>",
    permission=DELIVERIES,
    answers={200: DeliveryWithAttemptsSchema},
    refuses=(404,),
)
def get_delivery(delivery_id: str) -> Response:
    """Read a delivery with its attempts

    Each attempt has its time, its status and the first 1 KiB of the receiver's response.
    """
    return json_response(deliveries.get_delivery(deps().database, g.principal, delivery_id))


@operation(
    webhooks,
    "POST",
    "/deliveries/<delivery_id>/redeliver",
    permission=DELIVERIES,
    answers={202: DeliverySchema},
    refuses=(404, 409),
)
def redeliver_delivery(delivery_id: str) -> Response:
    """Send a delivery again now

    This restarts the full retry schedule. The receiver recognises a repeat by its `webhook-id`.
    """
    return json_response(deliveries.redeliver(deps().database, g.principal, delivery_id), 202)


@operation(webhooks, "GET", "/signing-secret", permission=SECRET, query=NamespaceQuery, answers={200: SecretSchema})
def get_signing_secret(query: dict[str, Any]) -> Response:
    """Read the secret that signs a namespace's callbacks

    Webhooks to a `callbackUrl` are signed with this secret; endpoints have their own.
    """
    namespace = query.get("namespace", g.principal.own_namespace)
    return json_response({"secret": signing.read_namespace_secret(deps().database, g.principal, namespace)})


@operation(
    webhooks,
    "POST",
    "/signing-secret/rotate",
    permission=MANAGE,
    query=NamespaceQuery,
    answers={200: SecretSchema},
)
def rotate_signing_secret(query: dict[str, Any]) -> Response:
    """Rotate the secret that signs a namespace's callbacks

    Both secrets sign for 24 hours. Only this response shows the new secret to callers who may not read it.
    """
    namespace = query.get("namespace", g.principal.own_namespace)
    return json_response({"secret": signing.rotate_namespace_secret(deps().database, g.principal, namespace)})


def _change(body: dict[str, Any]) -> EndpointChange:
    fixed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in body.items()}
    return EndpointChange(**fixed)
