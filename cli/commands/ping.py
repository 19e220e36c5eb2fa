"""`sagahold ping`: whether the server answers, its version and its response time."""

import json
import time

import click

from cli.client import ServerUnreachable
from cli.session import CommandContext, command
from cli.views.output import clean, console
from domain.identity.access import Role


@command(None, "ping", Role.AGENT)
def ping(session: CommandContext) -> None:
    """Check that the server answers, and show how fast."""
    version = version_of(session)
    started = time.perf_counter()
    session.request("GET", "/v1/health")
    took = (time.perf_counter() - started) * 1_000
    if session.as_json:
        click.echo(json.dumps({"url": session.server.url, "version": version, "ms": round(took, 1)}))
        return
    console().print(f"{session.server.url} answers in {took:.1f} ms (Sagahold {clean(version)})", soft_wrap=True)


def version_of(session: CommandContext) -> str:
    """Return the server's version. Raises `ServerUnreachable` if it is not Sagahold."""
    try:
        info = session.request("GET", "/openapi.json").document["info"]
        if info["title"] != "Sagahold":
            raise KeyError
        return str(info["version"])
    except (ValueError, KeyError, TypeError):
        raise ServerUnreachable(f"{session.server.url} is not a Sagahold server: check the URL") from None
