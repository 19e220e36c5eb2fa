"""`sagahold webhooks …`: endpoints (admin), deliveries (operator), the secret that signs callbacks (agent)."""

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
    """Signed messages to your servers: endpoints, deliveries, secrets."""


def _endpoint_options(function: Command) -> Command:
    for option in (
        click.option("--header", "headers", type=HEADER, multiple=True, help="Sent with every request; several times."),
        click.option("--description"),
        click.option("--namespace", "namespaces", multiple=True, help="Several times; * is all of them."),
        click.option("--event", "event_types", type=click.Choice(EVENT_TYPES), multiple=True, help="Several times."),
    ):
        function = option(function)
    return function


@command(webhooks, "endpoints", Role.ADMIN)
@page_options
def endpoints(session: CommandContext, **query: Any) -> None:
    """List endpoints, the newest first."""
    session.show(session.ask("GET", f"{PATH}/endpoints", query=query), view.endpoints)


@command(webhooks, "endpoint", Role.ADMIN)
@ENDPOINT
def endpoint(session: CommandContext, endpoint_id: str) -> None:
    """Show an endpoint."""
    session.show(session.ask("GET", f"{PATH}/endpoints/{part(endpoint_id)}"), view.endpoint)


@command(webhooks, "add", Role.ADMIN)
@click.argument("url_to_call", metavar="URL")
@_endpoint_options
def add(session: CommandContext, url_to_call: str, **options: Any) -> None:
    """Send events to URL, and show the secret that signs them.

    All events of the namespace `default`, unless said otherwise. The secret is shown this once.
    """
    body = {"url": url_to_call, "namespaces": [DEFAULT_NAMESPACE], **_lists(options)}
    session.show(session.ask("POST", f"{PATH}/endpoints", body=body), view.endpoint)


@command(webhooks, "change", Role.ADMIN)
@ENDPOINT
@click.option("--to", "url_to_call", metavar="URL", help="Where it sends from now on.")
@_endpoint_options
@click.option("--all-events", is_flag=True, help="Every type of event.")
@click.option("--enable/--disable", "enabled", default=None)
def change(
    session: CommandContext, endpoint_id: str, url_to_call: str | None, all_events: bool, **options: Any
) -> None:
    """Change an endpoint.

    What is not given stays as it is.
    """
    body = _lists(options) | given(url=url_to_call) | ({"event_types": []} if all_events else {})
    if not body:
        raise click.UsageError("nothing to change was given", click.get_current_context())
    session.show(session.ask("PATCH", f"{PATH}/endpoints/{part(endpoint_id)}", body=body), view.endpoint)


@command(webhooks, "remove", Role.ADMIN)
@ENDPOINT
def remove(session: CommandContext, endpoint_id: str) -> None:
    """Remove an endpoint.

    Its deliveries stay readable.
    """
    session.ask("DELETE", f"{PATH}/endpoints/{part(endpoint_id)}")
    if not session.as_json:
        click.echo(f"{endpoint_id} is removed")


@command(webhooks, "rotate-secret", Role.ADMIN)
@ENDPOINT
def rotate_secret(session: CommandContext, endpoint_id: str) -> None:
    """Make an endpoint's new secret.

    It is shown this once; for 24 hours both sign.
    """
    session.show(session.ask("POST", f"{PATH}/endpoints/{part(endpoint_id)}/rotate-secret"), view.endpoint)


@command(webhooks, "test", Role.OPERATOR)
@ENDPOINT
def test(session: CommandContext, endpoint_id: str) -> None:
    """Send a `webhook.test` to an endpoint."""

    def sent(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"sent; how it went: sagahold webhooks delivery {document['delivery_id']}", soft_wrap=True)

    session.show(session.ask("POST", f"{PATH}/endpoints/{part(endpoint_id)}/test"), sent)


@command(webhooks, "recover", Role.OPERATOR)
@ENDPOINT
@click.option("--since", metavar="TIME", required=True, help="As 2026-03-30T21:00:00Z.")
def recover(session: CommandContext, endpoint_id: str, since: str) -> None:
    """Send again what an endpoint did not get."""

    def recovered(screen: Console, document: dict[str, Any]) -> None:
        screen.print(f"{document['recovered']} deliveries are sent again")

    answer = session.ask("POST", f"{PATH}/endpoints/{part(endpoint_id)}/recover", body={"since": since})
    session.show(answer, recovered)


@command(webhooks, "deliveries", Role.OPERATOR)
@click.option("--status", type=click.Choice([str(word) for word in DeliveryStatus]))
@click.option("--namespace")
@click.option("--endpoint", "endpoint_id", metavar="ID", help="Those to this endpoint.")
@click.option("--pause", "watch_id", metavar="ID", help="Those that tell of this pause.")
@page_options
def deliveries(session: CommandContext, **query: Any) -> None:
    """List deliveries, the newest first."""
    session.show(session.ask("GET", f"{PATH}/deliveries", query=query), view.deliveries)


@command(webhooks, "delivery", Role.OPERATOR)
@DELIVERY
def delivery(session: CommandContext, delivery_id: str) -> None:
    """Show a delivery with every attempt."""
    session.show(session.ask("GET", f"{PATH}/deliveries/{part(delivery_id)}"), view.delivery)


@command(webhooks, "redeliver", Role.OPERATOR)
@DELIVERY
def redeliver(session: CommandContext, delivery_id: str) -> None:
    """Send a delivery again, now.

    It keeps its webhook-id.
    """
    session.show(session.ask("POST", f"{PATH}/deliveries/{part(delivery_id)}/redeliver"), view.delivery)


@command(webhooks, "signing-secret", Role.AGENT)
@click.option("--namespace", help="Default: the key's own.")
def signing_secret(session: CommandContext, namespace: str | None) -> None:
    """Print the secret that signs callbacks.

    Those of a namespace's pauses; each endpoint has a secret of its own.
    """
    session.show(session.ask("GET", f"{PATH}/signing-secret", query={"namespace": namespace}), view.secret)


@command(webhooks, "rotate-signing-secret", Role.ADMIN)
@click.option("--namespace", help="Default: the key's own.")
def rotate_signing_secret(session: CommandContext, namespace: str | None) -> None:
    """Make a namespace's new secret.

    For 24 hours both sign.
    """
    session.show(session.ask("POST", f"{PATH}/signing-secret/rotate", query={"namespace": namespace}), view.secret)


def _lists(options: dict[str, Any]) -> dict[str, Any]:
    """Options as fields of an endpoint: those that may be given several times count only when they were."""
    headers = dict(options.pop("headers"))
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {name: value for name, value in (fields | {"headers": headers}).items() if value not in (None, [], {})}
