"""`sagahold hook exec -- COMMAND …`: run a command once a person has approved it."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import click

from cli.client import Failure, open_server
from cli.held_action import ActionDesk, HeldAction, Request
from cli.held_command import SHELL_SIGNAL, OwnUsage, approval, fail, say
from cli.parameters import JSON, SPAN
from cli.session import server_options

DOOR = "exec-hook"
# As `env`, `timeout` and `docker run` report a failure of their own.
NOT_RUN, CANNOT_RUN, NOT_FOUND = 125, 126, 127
REPORT_SECONDS = 60


class _Exec(OwnUsage):
    wrong_usage = NOT_RUN


@click.command("exec", cls=_Exec, context_settings={"allow_interspersed_args": False})
@click.option("--action", help="Describe the action (default: the command line).")
@click.option("--review", type=JSON, help="Set the approval policy, such as '{\"approvals\": 2}'.")
@click.option("--wait", type=SPAN, default="1d", show_default=True, metavar="90|15m|6h", help="Wait this long.")
@click.option("--key", help="Find the same request again after a restart.")
@click.option("--keep", is_flag=True, help="Leave the request open if Ctrl-C or SIGTERM ends the wait.")
@click.argument("argv", nargs=-1, required=True, metavar="-- COMMAND …")
def exec_(
    url: str | None,
    data_dir: Path,
    argv: tuple[str, ...],
    action: str | None,
    review: Any,
    wait: int,
    key: str | None,
    keep: bool,
) -> None:
    """Run COMMAND once, after a person has approved it, and report its outcome.

    A reviewer may edit the arguments and the directory; exactly what was approved runs. Exit with the status of the
    command, or with 125 if it did not run.
    """
    try:
        with open_server(url, data_dir, decides=True) as server:
            request = _request(argv, action, review, wait, key)
            used = approval(server, request, wait, check, keep=keep, failed=NOT_RUN)
            status, note = run(used)
            desk = ActionDesk(server, time.monotonic() + REPORT_SECONDS, patience=REPORT_SECONDS, warn=say)
            try:
                desk.report(used.watch_id, "succeeded" if status == 0 else "failed", note)
            except click.ClickException as error:
                say(f"the outcome of {used.watch_id} is not reported: {error.format_message()}")
    except click.ClickException as error:
        fail(error, NOT_RUN)
    except Exception as error:
        fail(Failure(f"{type(error).__name__}: {error}"), NOT_RUN)
    sys.exit(status)


def _request(argv: tuple[str, ...], action: str | None, review: Any, wait: int, key: str | None) -> Request:
    cwd = os.getcwd()
    client = {"tool": argv[0][:200], "cwd": cwd[:200], "host": socket.gethostname()[:200]}
    fields = {"expiresIn": wait} | ({} if review is None else {"review": review})
    arguments = {"argv": list(argv), "cwd": cwd}
    external_id = None if key is None else f"exec:{key}"
    # The request's own key; a restarted process finds the request by its external id.
    return Request(uuid4().hex, action or shlex.join(argv), arguments, DOOR, client, external_id, fields)


def check(held: HeldAction) -> tuple[list[str], str]:
    """Return the approved command and directory. Raise `Failure` if they cannot run."""
    found = held.arguments or {}
    argv, cwd = found.get("argv"), found.get("cwd")
    sound = isinstance(argv, list) and bool(argv) and all(isinstance(word, str) and "\0" not in word for word in argv)
    if found.keys() != {"argv", "cwd"} or not sound or not isinstance(cwd, str):
        raise Failure(f"the approved arguments are no command: argv is a list of texts, cwd a text ({held.review_url})")
    if not os.path.isdir(cwd):
        raise Failure(f"the approved directory {cwd} is not there ({held.review_url})")
    return [str(word) for word in argv or ()], cwd


def run(used: HeldAction) -> tuple[int, str]:
    """Run the approved command. Return its exit status as a shell shows it, and a note."""
    argv, cwd = check(used)
    try:
        started = subprocess.Popen(argv, cwd=cwd)
    except OSError as error:
        say(f"{argv[0]}: {error.strerror}")
        return (NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN), str(error.strerror)

    def forward(number: int, frame: FrameType | None) -> None:
        started.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    # The terminal sends this one to the command itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN if os.isatty(0) else forward)
    status = started.wait()
    if status < 0:
        # Python names no real-time numbers.
        names = {number.value: number.name for number in signal.Signals}
        return SHELL_SIGNAL - status, f"ended by {names.get(-status, f'signal {-status}')}"
    return status, f"exit status {status}"


exec_.params.extend(option for option in server_options() if option.name != "as_json")
