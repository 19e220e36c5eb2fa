"""Wait for a decision by long polls, one after the other, across restarts of the server."""

import math
import time

from cli.client import ServerRefused, ServerResponse, ServerUnreachable, part
from cli.session import CommandContext
from domain.pauses.pause import Status

# The longest poll that the server allows. Seconds.
HELD_SECONDS = 60
# Between two requests when the server accepts no more long polls or is unreachable. Seconds.
RETRY_SECONDS = 2.0
# The longest restart of a server or its database that a wait survives. Seconds.
AWAY_SECONDS = 60.0
SERVICE_UNAVAILABLE = 503


def wait_for(session: CommandContext, watch_id: str, timeout: int | None) -> ServerResponse:
    """Return the pause once it is resolved, or as it is after `timeout` seconds (None: no limit)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    # A server that never answered means a wrong URL; one that did answer will come back.
    away_until = 0.0
    while True:
        left = HELD_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            answer = _poll(session, watch_id, min(HELD_SECONDS, math.ceil(left)))
        except (ServerUnreachable, ServerRefused) as error:
            passing = isinstance(error, ServerUnreachable) or error.status == SERVICE_UNAVAILABLE
            if not passing or time.monotonic() > away_until or left <= 0:
                raise
            time.sleep(min(RETRY_SECONDS, left))
            continue
        if answer.document["status"] != Status.PENDING or left <= 0:
            return answer
        away_until = time.monotonic() + AWAY_SECONDS
        if "Retry-After" in answer.headers:
            time.sleep(min(RETRY_SECONDS, left))


def _poll(session: CommandContext, watch_id: str, held: int) -> ServerResponse:
    return session.request("GET", f"/api/pause/{part(watch_id)}", query={"wait": held}, held=held)
