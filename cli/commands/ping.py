"""`sagahold ping`: is the server there, which version, how fast."""

import json
import time

import click

from cli.client import ServerUnreachable
from cli.session import CommandContext, command
from cli.views.output import clean, console
from domain.identity.access import Role


@command(None, "ping", Role.AGENT)
def ping(session: CommandContext) -> None:
    """Ask the server whether it is there, and how long that takes."""
    version = version_of(session)
    started = time.perf_counter()
    session.ask("GET", "/v1/health")
    took = (time.perf_counter() - started) * 1_000
    if session.as_json:
        click.echo(json.dumps({"url": session.server.url, "version": version, "ms": round(took, 1)}))
        return
    console().print(f"{session.server.url} answers in {took:.1f} ms (Sagahold {clean(version)})", soft_wrap=True)


def version_of(session: CommandContext) -> str:
    """Raises `ServerUnreachable` when something else answers there."""
    try:
        info = session.ask("GET", "/openapi.json").document["info"]
        if info["title"] != "Sagahold":
            raise KeyError
        return str(info["version"])
    except (ValueError, KeyError, TypeError):
        raise ServerUnreachable(f"{session.server.url} is not a Sagahold server: check the URL") from None
