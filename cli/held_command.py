"""Hold the action of a command that people and scripts run: show the link, wait, and use the approval."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from typing import Any, NoReturn

import click

from cli import guard
from cli.client import Failure, Server
from cli.held_action import ActionDesk, HeldAction, Request, same
from cli.views.output import clean
from domain.pauses.pause import Status

# After the time for the decision: the server's own sweep, an answer that is on its way. Seconds.
GRACE = 60
# For a server that does not answer the first request, and for taking a request back at the end. Seconds.
PATIENCE = 60
CANCEL_SECONDS = 5.0
SHELL_SIGNAL = 128


class OwnUsage(click.Command):
    """A command whose wrong usage has a status of its own, because 2 means something else there."""

    wrong_usage: int

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            fail(error, self.wrong_usage)


class NotApproved(Failure):
    """The action may not run. `held` has the decision."""

    def __init__(self, held: HeldAction) -> None:
        super().__init__(f"“{held.action}” is {held.why} ({held.review_url})")
        self.held = held


def approval(
    server: Server,
    request: Request,
    wait: int,
    check: Callable[[HeldAction], object],
    *,
    keep: bool,
    failed: int,
) -> HeldAction:
    """Return the approved action, whose approval is used now. Raise `Failure` for everything else.

    Args:
        wait: the seconds for the decision.
        check: raises `Failure` for an approval that the command cannot carry out; it is not used then.
        keep: leave the request open if Ctrl-C or SIGTERM ends the command.
        failed: the exit status after the time is over.
    """
    desk = ActionDesk(server, time.monotonic() + wait + GRACE, patience=PATIENCE, warn=_warn)
    opened: list[HeldAction] = []

    def end(number: int) -> NoReturn:
        if number == signal.SIGALRM:
            say("the server gave no answer in time")
            os._exit(failed)
        if opened and not keep:
            _cancel(desk, opened[0])
        os._exit(SHELL_SIGNAL + number)

    def work() -> HeldAction:
        held = _requested(desk, request)
        opened.append(held)
        if held.status is Status.PENDING:
            say(f"“{held.action}” waits for a decision: {held.review_url}")
        held = desk.wait(held)
        if not held.approved:
            raise NotApproved(held)
        check(held)
        opened.clear()
        return desk.consume(held)

    guard.end_after(wait + 2 * GRACE, end)
    used = guard.in_thread(work)
    guard.stop()
    say(f"{used.why} ({used.watch_id})")
    return used


def _requested(desk: ActionDesk, request: Request) -> HeldAction:
    """Return the pause of the key. A request that was taken back is made again."""
    if request.external_id is None:
        return desk.request(request)
    earlier = desk.find(request.external_id)
    for held in earlier:
        if held.status is not Status.CANCELLED:
            if held.action != request.body["action"] or not same(held.posted, request.arguments):
                raise Failure(f"the key belongs to another action, “{held.action}”: use another --key")
            return held
    return desk.request(replace(request, key=f"{request.key}-{len(earlier)}"))


def _cancel(desk: ActionDesk, held: HeldAction) -> None:
    def cancel() -> None:
        try:
            desk.cancel(held.watch_id, "the command was ended")
            say(f"the request {held.watch_id} is cancelled")
        except click.ClickException as error:
            say(f"the request {held.watch_id} is not cancelled: {error.format_message()}")

    cancelling = Thread(target=cancel, daemon=True)
    cancelling.start()
    cancelling.join(CANCEL_SECONDS)


def _warn(message: str) -> None:
    say(f"{message}; it is tried again")


def fail(error: click.ClickException, status: int) -> NoReturn:
    say(error.format_message())
    sys.exit(status)


def say(message: str) -> None:
    """Write a line to standard error at once: standard output is for the result."""
    print(f"sagahold: {clean(message)}", file=sys.stderr, flush=True)
