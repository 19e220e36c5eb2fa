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

LOOK_SECONDS = 0.1


class _StopRequest:
    """Ctrl-C and SIGTERM set a flag and nothing else, so that no step of start or stop is cut in half."""

    def __init__(self) -> None:
        self.made = False
        signal.signal(signal.SIGINT, self._make)
        signal.signal(signal.SIGTERM, self._make)

    def _make(self, number: int, frame: FrameType | None) -> None:
        self.made = True


@click.command()
@click.option("--host", help="Address to listen on; default SAGAHOLD_HOST, else 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Default SAGAHOLD_PORT, else 8000.")
@click.option("--data-dir", default=".sagahold", show_default=True, help="Where data, logs and first keys are kept.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--sample/--no-sample", default=True, help="Whether an empty database gets two samples to decide on.")
def up(host: str | None, port: int | None, data_dir: str, workers: int, sample: bool) -> None:
    """Run everything on this machine: PostgreSQL, Redis, web, workers and beat.

    Where DATABASE_URL or REDIS_URL is set, that server is used instead of starting one.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    stop = _StopRequest()
    stack = Stack(
        Path(data_dir),
        port=port,
        workers=workers,
        environ={"SAGAHOLD_HOST": host} if host else None,
        say=lambda line: _news(console, line),
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
                time.sleep(LOOK_SECONDS)
            console.print("Stopping …")
    except CancelledError:
        return
    except NotReadyError as error:
        raise SystemExit(_told(error, *error.details, code=1)) from None
    except StackError as error:
        raise SystemExit(_told(error, code=2)) from None


def _seed(console: Console, stack: Stack) -> None:
    try:
        if seed(stack.url, stack.credentials, stack.data.path):
            _news(console, "Samples: one pause and one held saga, for a first look (--no-sample: none)")
    except Failure as failure:
        # The stack is good without them.
        _news(console, f"no samples: {failure.message}")


def _news(console: Console, line: str) -> None:
    # Whoever read our output may be gone (`sagahold up | head`): the stack goes on.
    with suppress(OSError, SystemExit):
        console.print(line)


def _told(error: StackError, *details: str, code: int) -> int:
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    errors.print(f"sagahold: {error}")
    for line in details:
        errors.print(f"  {line}")
    return code
