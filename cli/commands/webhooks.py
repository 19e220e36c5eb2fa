"""`sagahold webhooks …`: endpoints (admin), deliveries (operator) and the signing secret of callbacks (agent)."""

from typing import Any

import click
from rich.console import Console

from cli.client import part
from cli.parameters import HEADER
from cli.session import Command, CommandContext, command, given, page_options
from cli.views import webhooks as view
from domain.delivery.webhook import EVENT_TYPES, DeliveryStatus
from domain.identity.access import DEFAULT_NAMESPACE, Role

PATH = "/v1/webhooks"
ENDPOINT = click.argument("endpoint_id", metavar="ID")
DELIVERY = click.argument("delivery_id", metavar="ID")


@click.group()
def webhooks() -> None:
    """Manage webhook endpoints, deliveries and signing secrets."""


def _endpoint_options(function: Command) -> Command:
    for option in (
        click.option("--header", "headers", type=HEADER, multiple=True, help="Send this header (repeatable)."),
        click.option("--description", help="Describe the endpoint for people."),
        click.option(
            "--namespace", "namespaces", multiple=True, help="Send events of this namespace, * for all (repeatable)."
        ),
        click.option(
            "--event",
            "event_types",
            type=click.Choice(EVENT_TYPES),
            multiple=True,
            help="Send only this type of event (repeatable).",
        ),
    ):
        function = option(function)
    return function


@command(webhooks, "endpoints", Role.ADMIN)
@page_options
def endpoints(session: CommandContext, **query: Any) -> None:
    """List endpoints, newest first."""
    session.show(session.request("GET", f"{PATH}/endpoints", query=query), view.endpoints)


@command(webhooks, "endpoint", Role.ADMIN)
@ENDPOINT
def endpoint(session: CommandContext, endpoint_id: str) -> None:
    """Show an endpoint."""
    session.show(session.request("GET", f"{PATH}/endpoints/{part(endpoint_id)}"), view.endpoint)


@command(webhooks, "add", Role.ADMIN)
@click.argument("url_to_call", metavar="URL")
@_endpoint_options
def add(session: CommandContext, url_to_call: str, **options: Any) -> None:
    """Add an endpoint that receives events at URL.

    Without options, it receives all events of the namespace `default`. The secret that signs them is shown only once.
    """
    body = {"url": url_to_call, "namespaces": [DEFAULT_NAMESPACE], **_lists(options)}
    session.show(session.request("POST", f"{PATH}/endpoints", body=body), view.endpoint)


@command(webhooks, "change", Role.ADMIN)
@ENDPOINT
@click.option("--to", "url_to_call", metavar="URL", help="Change the URL.")
@_endpoint_options
@click.option("--all-events", is_flag=True, help="Send all types of events.")
@click.option("--enable/--disable", "enabled", default=None, help="Start or stop sending.")
def change(
    session: CommandContext, endpoint_id: str, url_to_call: str | None, all_events: bool, **options: Any
) -> None:
    """Change an endpoint.

    Omitted options leave their values unchanged.
    """
    body = _lists(options) | given(url=url_to_call) | ({"event_types": []} if all_events else {})
    if not body:
        raise click.UsageError("nothing to change: give at least one option", click.get_current_context())
    session.show(session.request("PATCH", f"{PATH}/endpoints/{part(endpoint_id)}", body=body), view.endpoint)


@command(webhooks, "remove", Role.ADMIN)
@ENDPOINT
def remove(session: CommandContext, endpoint_id: str) -> None:
    """Remove an endpoint.

    Its deliveries remain readable.
    """
    session.request("DELETE", f"{PATH}/endpoints/{part(endpoint_id)}")
    if not session.as_json:
        click.echo(f"{endpoint_id} is removed")


@command(webhooks, "rotate-secret", Role.ADMIN)
@ENDPOINT
def rotate_secret(session: CommandContext, endpoint_id: str) -> None:
    """Create a new secret for an endpoint.

    The secret is shown only once. For 24 hours, both secrets sign.
    """
    session.show(session.request("POST", f"{PATH}/endpoints/{part(endpoint_id)}/rotate-secret"), view.endpoint)


@command(webhooks, "test", Role.OPERATOR)
@ENDPOINT
def test(session: CommandContext, endpoint_id: str) -> None:
    """Send a `webhook.test` event to an endpoint."""

    def sent(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"sent; see the result: sagahold webhooks delivery {document['delivery_id']}", soft_wrap=True)

    session.show(session.request("POST", f"{PATH}/endpoints/{part(endpoint_id)}/test"), sent)


@command(webhooks, "recover", Role.OPERATOR)
@ENDPOINT
@click.option("--since", metavar="TIME", required=True, help="Start at this time, such as 2026-03-30T21:00:00Z.")
def recover(session: CommandContext, endpoint_id: str, since: str) -> None:
    """Send an endpoint's missed events again."""

    def recovered(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"{document['recovered']} deliveries will be sent again")

    answer = session.request("POST", f"{PATH}/endpoints/{part(endpoint_id)}/recover", body={"since": since})
    session.show(answer, recovered)


@command(webhooks, "deliveries", Role.OPERATOR)
@click.option(
    "--status", type=click.Choice([str(word) for word in DeliveryStatus]), help="List only deliveries with this status."
)
@click.option("--namespace", help="List only deliveries in this namespace.")
@click.option("--endpoint", "endpoint_id", metavar="ID", help="List only deliveries to this endpoint.")
@click.option("--pause", "watch_id", metavar="ID", help="List only deliveries about this pause.")
@page_options
def deliveries(session: CommandContext, **query: Any) -> None:
    """List deliveries, newest first."""
    session.show(session.request("GET", f"{PATH}/deliveries", query=query), view.deliveries)


@command(webhooks, "delivery", Role.OPERATOR)
@DELIVERY
def delivery(session: CommandContext, delivery_id: str) -> None:
    """Show a delivery and its attempts."""
    session.show(session.request("GET", f"{PATH}/deliveries/{part(delivery_id)}"), view.delivery)


@command(webhooks, "redeliver", Role.OPERATOR)
@DELIVERY
def redeliver(session: CommandContext, delivery_id: str) -> None:
    """Send a delivery again now.

    Its webhook-id does not change.
    """
    session.show(session.request("POST", f"{PATH}/deliveries/{part(delivery_id)}/redeliver"), view.delivery)


@command(webhooks, "signing-secret", Role.AGENT)
@click.option("--namespace", help="Print the secret of this namespace (default: the key's).")
def signing_secret(session: CommandContext, namespace: str | None) -> None:
    """Print the secret that signs callbacks.

    Each namespace has one for its pauses; each endpoint has its own.
    """
    session.show(session.request("GET", f"{PATH}/signing-secret", query={"namespace": namespace}), view.secret)


@command(webhooks, "rotate-signing-secret", Role.ADMIN)
@click.option("--namespace", help="Rotate the secret of this namespace (default: the key's).")
def rotate_signing_secret(session: CommandContext, namespace: str | None) -> None:
    """Create a new secret for a namespace's callbacks.

    For 24 hours, both secrets sign.
    """
    session.show(session.request("POST", f"{PATH}/signing-secret/rotate", query={"namespace": namespace}), view.secret)


def _lists(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as fields of an endpoint, without repeatable options that were not given."""
    headers = dict(options.pop("headers"))
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {name: value for name, value in (fields | {"headers": headers}).items() if value not in (None, [], {})}
