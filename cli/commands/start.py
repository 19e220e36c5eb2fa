"""`sagahold start …`: start a saga."""

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
@click.option("-n", "--name", required=True, help="Start the saga with this name.")
@click.option("-v", "--version", required=True, help="Start this version.")
@click.option("--input", type=JSON, help="Pass this object to the saga as `input`.")
@click.option("--namespace", help="Start it in this namespace (default: the key's).")
@click.option("--idempotency-key", help="Start one saga even if the request repeats.")
@click.option("--trace-id", help="Use your own trace id, 32 lowercase hexadecimal digits.")
def saga(session: CommandContext, **body: Any) -> None:
    """Start a deployed saga."""
    session.show(session.request("POST", "/v1/sagas/start", body=given(**body)), view.started)
