"""Looking again and again until something has ended: redrawn in a terminal, said again when it changes elsewhere."""

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

# Between two looks: often enough for a person, and no load. Seconds.
LOOK_SECONDS = 1.0


def follow(
    session: CommandContext,
    look: Callable[[], Seen],
    ended: Callable[[Seen], bool],
    draw: Callable[[Seen], RenderableType],
    text: Callable[[Seen], str],
) -> Seen:
    """What was seen last. `text`: the server's own JSON; for programs it is printed at each change."""
    screen = console()
    if screen.is_terminal and not session.as_json:
        with Live(console=screen, auto_refresh=False) as live:
            return _look_again(look, ended, lambda seen: live.update(draw(seen), refresh=True))
    last = ""

    def show(seen: Seen) -> None:
        nonlocal last
        if text(seen) != last:
            last = text(seen)
            click.echo(last) if session.as_json else screen.print(draw(seen))

    return _look_again(look, ended, show)


def watch_steps(session: CommandContext, trace_id: str, look_at_steps: Callable[[], ServerResponse]) -> None:
    """Until the saga has ended. Raises `Failure` when it did not complete."""

    def look() -> tuple[ServerResponse, dict[str, Any]]:
        # The saga first: once that has ended, so have its steps. Where there is none, the steps' answer says so.
        found = session.ask("GET", "/v1/sagas", query={"trace_id": trace_id}).document["items"]
        steps = look_at_steps()
        return steps, found[0]

    def draw(seen: tuple[ServerResponse, dict[str, Any]]) -> RenderableType:
        return view.watched(seen[1], seen[0].document["items"])

    _, saga = follow(session, look, lambda seen: seen[1]["ended_at"] is not None, draw, lambda seen: seen[0].text)
    if saga["status"] != SagaStatus.COMPLETED:
        raise Failure(f"{trace_id} did not complete: {saga['status']}")


def _look_again(look: Callable[[], Seen], ended: Callable[[Seen], bool], show: Callable[[Seen], None]) -> Seen:
    # A server that is not there at the first look is a wrong URL; one that has answered comes back.
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
        time.sleep(LOOK_SECONDS)
