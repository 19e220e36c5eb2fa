"""`sagahold demo`: the main features once, on a temporary stack."""

import os
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console

from adapters.process.running import is_running
from cli.client import Failure
from cli.demo.deviation import Deviation
from cli.demo.narrator import Narrator
from cli.demo.outreach import OutreachStory
from cli.demo.receiver import Receiver
from cli.demo.refund import RefundStory
from cli.demo.sagas import Sagas
from cli.demo.story import Story
from cli.devstack import NotReadyError, Stack, StackError
from cli.views.output import console


@click.command()
def demo() -> None:
    """Show the main features once on a temporary stack.

    An agent asks, people decide, and webhooks report the decisions. Nothing is left running.
    """
    # Both ways to stop clean up first, and a second Ctrl-C does not interrupt the cleanup.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    screen = console()
    started = time.perf_counter()
    try:
        pids = _show(screen)
    except NotReadyError as error:
        for line in error.details:
            click.echo(f"  {line}", err=True)
        raise Failure(str(error)) from None
    except (Deviation, StackError) as error:
        raise Failure(str(error)) from None
    if left := [pid for pid in pids if is_running(pid)]:
        raise Failure(f"processes were left running: {', '.join(map(str, left))}")
    screen.print()
    screen.print(f"Stopped and cleaned up after {time.perf_counter() - started:.0f} s.")
    screen.print("Next: `sagahold up` runs a stack that stays and prints a link to its dashboard.")
    screen.print("Two samples wait there for your decision. To add a pause, use another terminal:")
    screen.print("  sagahold pause create 'Deploy to production' --wait", style="bold")


def _show(screen: Console) -> list[int]:
    """Run the demo and return the pids of its processes."""
    with ExitStack() as undo:
        folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="sagahold-demo-"))
        receiver = undo.enter_context(Receiver())
        stack = Stack(folder, environ=_environ(), say=lambda line: screen.print(line, style="dim"))
        started = time.perf_counter()
        with screen.status("Starting PostgreSQL, Redis, web, worker and beat …"):
            undo.enter_context(stack)
        pids = [pid for pid in map(stack.pid, stack.names()) if pid is not None]
        took = time.perf_counter() - started
        screen.print(f"{', '.join(stack.names())}: up in {took:.1f} s at {stack.url}")
        narrator = Narrator(screen)
        Story(narrator, stack.url, stack.credentials, receiver).run()
        sagas = Sagas(stack.url, stack.credentials, Path(folder) / "ledger.db")
        RefundStory(narrator, sagas).run()
        OutreachStory(narrator, sagas).run()
    return pids


def _environ() -> dict[str, str]:
    """Clear the environment's servers and settings, so that the demo never writes to an existing database."""
    ours = [name for name in os.environ if name.startswith("SAGAHOLD_")]
    # The demo's receiver listens on loopback, which webhooks reach only if the operator allows it.
    return {**dict.fromkeys((*ours, "DATABASE_URL", "REDIS_URL"), ""), "SAGAHOLD_EGRESS_ALLOW": "127.0.0.0/8"}


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    for handled in (signal.SIGINT, signal.SIGTERM):
        signal.signal(handled, signal.SIG_IGN)
    raise KeyboardInterrupt
