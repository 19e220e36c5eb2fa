"""`sagahold up`: the whole stack in the foreground, until Ctrl-C or SIGTERM."""

import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from cli.client import Failure
from cli.devstack import CancelledError, NotReadyError, Stack, StackError
from cli.samples import seed

POLL_SECONDS = 0.1


class _StopRequest:
    """A flag that Ctrl-C and SIGTERM set. They do nothing else, so no step of start or stop is interrupted."""

    def __init__(self) -> None:
        self.made = False
        signal.signal(signal.SIGINT, self._make)
        signal.signal(signal.SIGTERM, self._make)

    def _make(self, number: int, frame: FrameType | None) -> None:
        self.made = True


@click.command()
@click.option("--host", help="Listen on this address (default: SAGAHOLD_HOST or 127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65_535), help="Listen on this port (default: SAGAHOLD_PORT or 8000).")
@click.option(
    "--data-dir", default=".sagahold", show_default=True, help="Keep data, logs and first keys in this directory."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Run this many worker processes."
)
@click.option("--sample/--no-sample", default=True, help="Add two samples to an empty database (default), or none.")
def up(host: str | None, port: int | None, data_dir: str, workers: int, sample: bool) -> None:
    """Run the whole stack on this machine.

    The stack is PostgreSQL, Redis, web, workers and beat. If DATABASE_URL or REDIS_URL is set, use that server instead
    of starting one.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    stop = _StopRequest()
    stack = Stack(
        Path(data_dir),
        port=port,
        workers=workers,
        environ={"SAGAHOLD_HOST": host} if host else None,
        say=lambda line: _report(console, line),
        cancelled=lambda: stop.made,
    )
    try:
        with stack:
            if sample:
                _seed(console, stack)
            link = stack.sign_in_link()
            console.print(f"Ready: {stack.url}", style="bold green")
            if link:
                console.print(f"Sign in: {link}")
            console.print(f"Keys:  {stack.data.credentials_file}")
            console.print(f"Logs:  {stack.data.logs}")
            console.print("Ctrl-C stops everything.")
            while not stop.made:
                time.sleep(POLL_SECONDS)
            console.print("Stopping …")
    except CancelledError:
        return
    except NotReadyError as error:
        raise SystemExit(_fail(error, *error.details, code=1)) from None
    except StackError as error:
        raise SystemExit(_fail(error, code=2)) from None


def _seed(console: Console, stack: Stack) -> None:
    try:
        if seed(stack.url, stack.credentials, stack.data.path):
            _report(console, "Samples: one pause and one held saga to try (--no-sample omits them)")
    except Failure as failure:
        # The stack works without samples.
        _report(console, f"no samples: {failure.message}")


def _report(console: Console, line: str) -> None:
    # The reader of our output may have exited (`sagahold up | head`); the stack continues.
    with suppress(OSError, SystemExit):
        console.print(line)


def _fail(error: StackError, *details: str, code: int) -> int:
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    errors.print(f"sagahold: {error}")
    for line in details:
        errors.print(f"  {line}")
    return code
