"""`sagahold start …`: set something going."""

from typing import Any

import click

from cli.parameters import JSON
from cli.session import CommandContext, command, given
from cli.views import saga as view
from domain.identity.access import Role


@click.group()
def start() -> None:
    """Start a saga."""


@command(start, "saga", Role.AGENT)
@click.option("-n", "--name", required=True)
@click.option("-v", "--version", required=True)
@click.option("--input", type=JSON, help="An object: what the saga sees as `input`.")
@click.option("--namespace", help="Default: the key's own.")
@click.option("--idempotency-key", help="Said again, it is the same saga.")
@click.option("--trace-id", help="Your own: 32 lowercase hexadecimal digits.")
def saga(session: CommandContext, **body: Any) -> None:
    """Start a deployed saga."""
    session.show(session.ask("POST", "/v1/sagas/start", body=given(**body)), view.started)
