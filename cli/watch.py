"""Poll until something has ended. A terminal is redrawn; elsewhere each change is printed."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import RenderableType
from rich.live import Live

from cli.client import Failure, ServerRefused, ServerResponse, ServerUnreachable
from cli.pause_wait import AWAY_SECONDS, SERVICE_UNAVAILABLE
from cli.session import CommandContext
from cli.views import saga as view
from cli.views.output import console
from domain.sagas.saga import SagaStatus

Seen = TypeVar("Seen")

# Between two polls: often enough for a person, and no load. Seconds.
POLL_SECONDS = 1.0


def follow(
    session: CommandContext,
    look: Callable[[], Seen],
    ended: Callable[[Seen], bool],
    draw: Callable[[Seen], RenderableType],
    text: Callable[[Seen], str],
) -> Seen:
    """Poll with `look` until `ended`, and return the last result.

    `text` returns the server's JSON, which is printed at each change for programs.
    """
    screen = console()
    if screen.is_terminal and not session.as_json:
        with Live(console=screen, auto_refresh=False) as live:
            return _poll(look, ended, lambda seen: live.update(draw(seen), refresh=True))
    last = ""

    def show(seen: Seen) -> None:
        nonlocal last
        if text(seen) != last:
            last = text(seen)
            click.echo(last) if session.as_json else screen.print(draw(seen))

    return _poll(look, ended, show)


def watch_steps(session: CommandContext, trace_id: str, look_at_steps: Callable[[], ServerResponse]) -> None:
    """Show the steps until the saga has ended. Raises `Failure` if it did not complete."""

    def look() -> tuple[ServerResponse, dict[str, Any]]:
        # The saga first: once it has ended, so have its steps. An unknown saga makes the request for steps fail.
        found = session.request("GET", "/v1/sagas", query={"trace_id": trace_id}).document["items"]
        steps = look_at_steps()
        return steps, found[0]

    def draw(seen: tuple[ServerResponse, dict[str, Any]]) -> RenderableType:
        return view.watched(seen[1], seen[0].document["items"])

    _, saga = follow(session, look, lambda seen: seen[1]["ended_at"] is not None, draw, lambda seen: seen[0].text)
    if saga["status"] != SagaStatus.COMPLETED:
        raise Failure(f"{trace_id} did not complete: {saga['status']}")


def _poll(look: Callable[[], Seen], ended: Callable[[Seen], bool], show: Callable[[Seen], None]) -> Seen:
    # A server that never answered means a wrong URL; one that did answer will come back.
    away_until = 0.0
    while True:
        try:
            seen = look()
        except (ServerUnreachable, ServerRefused) as error:
            passing = isinstance(error, ServerUnreachable) or error.status == SERVICE_UNAVAILABLE
            if not passing or time.monotonic() > away_until:
                raise
        else:
            away_until = time.monotonic() + AWAY_SECONDS
            show(seen)
            if ended(seen):
                return seen
        time.sleep(POLL_SECONDS)
