"""`sagahold hook claude`: answer one hook event of Claude Code.

Claude Code lets a tool run after every exit status but 2, and after its own timeout. So whatever goes wrong here ends
with status 2, before that timeout.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from cli import guard
from cli.hook.events import FAILED, MAX_EVENT, PERMISSION, POST, TIMEOUT, BadEvent, Event, denied, read_event
from cli.hook.own_files import FILE, find_own_files, user_folder
from cli.hook.rules import BadRules, Do, Rule, Rules, load, strictest
from cli.hook.state import State, default_folder

BLOCK = 2
# How long before the configured timeout the hook answers by itself, and before that a wait ends. Seconds.
MARGIN = 20
WAIT_MARGIN = 5
REPORT_SECONDS = 30


@click.command()
@click.option(
    "--timeout",
    type=click.IntRange(MARGIN + WAIT_MARGIN + 1, 86_400),
    default=TIMEOUT,
    show_default=True,
    help="The timeout of this hook in the settings of Claude Code, in seconds. It answers 20 s earlier.",
)
@click.option("--rules", type=click.Path(path_type=Path), help="Use only this rules file.")
@click.option("--defer", is_flag=True, help="With claude -p, end the session while a call waits for its decision.")
@click.option("--url", envvar=["SAGAHOLD_URL", "ENGINE_URL"], help="Use the server at this URL.")
@click.option(
    "--data-dir",
    envvar="SAGAHOLD_DATA_DIR",
    type=click.Path(path_type=Path),
    help="Read the URL and the key that `sagahold up` wrote in this directory (default: .sagahold of the project).",
)
def claude(timeout: int, rules: Path | None, defer: bool, url: str | None, data_dir: Path | None) -> None:
    """Answer one hook event, which Claude Code writes to standard input.

    Exit with status 2 after any failure: that is the one status that blocks the tool.
    """
    events: list[Event] = []

    def block(reason: str) -> NoReturn:
        _block(events[0] if events else None, reason)

    def end(number: int) -> NoReturn:
        if number == signal.SIGALRM:
            block(f"no answer within {timeout - MARGIN} s")
        block(f"ended by {signal.Signals(number).name}")

    guard.end_after(timeout - MARGIN, end)
    ends = time.monotonic() + timeout - MARGIN
    try:
        if sys.stdin is None:
            raise BadEvent("standard input is closed")
        event = read_event(sys.stdin.buffer.read(MAX_EVENT))
        events.append(event)
        answer = _answer(event, rules, ends, Server(url, data_dir or _project() / ".sagahold", defer))
        if answer is not None:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    except click.ClickException as error:
        block(error.format_message())
    except (BadEvent, BadRules) as error:
        block(str(error))
    except BaseException as error:  # every other failure blocks as well
        block(f"{type(error).__name__}: {error}")


class Server:
    """The server's address. Nothing is imported or opened for a call that needs no server."""

    def __init__(self, url: str | None, data_dir: Path, defer: bool) -> None:
        self.url = url
        self.data_dir = data_dir
        self.defer = defer

    def decide(self, event: Event, rule: Rule, until: float) -> dict[str, Any]:
        from cli.client import open_server
        from cli.held_action import ActionDesk
        from cli.hook.decide import Decider

        with open_server(self.url, self.data_dir, decides=True) as server:
            defer = (self.defer or rule.defer) and _is_headless()
            return Decider(ActionDesk(server, until), State(default_folder()), defer).decide(event, rule)

    def report(self, watch_id: str, status: str, note: str | None, until: float) -> None:
        from cli.client import open_server
        from cli.held_action import ActionDesk

        with open_server(self.url, self.data_dir, decides=True) as server:
            ActionDesk(server, until).report(watch_id, status, note)


def _answer(event: Event, rules: Path | None, ends: float, server: Server) -> dict[str, Any] | None:
    if event.name in (POST, FAILED):
        _report(event, ends, server)
        return None
    own = find_own_files(_project(), user_folder(), rules, server.data_dir)
    rule = strictest(_rules(rules), event.tool, event.arguments, event.cwd, own)
    if rule.do is Do.PASS:
        return None
    if rule.do is Do.REFUSE:
        return denied(event, f"A rule refuses this call: {rule.reason or 'no reason given'}. Do not work around it.")
    return guard.in_thread(lambda: server.decide(event, rule, ends - WAIT_MARGIN))


def _report(event: Event, ends: float, server: Server) -> None:
    used = State(default_folder()).of_call(event.session, event.call)
    if used is None:
        return  # no approval was used for this call
    status, note = _outcome(event)
    until = min(ends, time.monotonic() + REPORT_SECONDS) - WAIT_MARGIN
    guard.in_thread(lambda: server.report(used.watch_id, status, note, until))
    used.file.unlink(missing_ok=True)


def _outcome(event: Event) -> tuple[str, str | None]:
    response = event.document.get("tool_response")
    if event.name == FAILED:
        interrupted = event.document.get("is_interrupt") is True
        error = event.document.get("error")
        return "unknown" if interrupted else "failed", error if isinstance(error, str) else None
    if isinstance(response, dict) and (response.get("interrupted") is True):
        return "unknown", "the user interrupted it"
    if isinstance(response, dict) and response.get("backgroundTaskId"):
        return "unknown", "it runs in the background, and its end is not reported"
    return "succeeded", None


def _rules(only: Path | None) -> list[Rules]:
    if only is not None:
        return [load(only)]
    found = {folder / FILE: None for folder in (user_folder(), _project() / ".claude")}
    return [load(file) for file in found if os.path.lexists(file)]


def _project() -> Path:
    return Path(os.environ.get("CLAUDE_PROJECT_DIR") or Path.cwd())


def _is_headless() -> bool:
    return os.environ.get("CLAUDE_CODE_ENTRYPOINT", "").startswith("sdk")


def _block(event: Event | None, reason: str) -> NoReturn:
    """End with status 2 at once, whatever threads still do. Claude Code shows the reason to the model."""
    try:
        if event is not None and event.name == PERMISSION:
            # For this event Claude Code ignores the status, and reads the answer.
            os.write(1, json.dumps(denied(event, f"Sagahold: {reason}")).encode() + b"\n")
        what = "the outcome is not reported" if event is not None and event.name in (POST, FAILED) else "blocked"
        line = " ".join(f"sagahold: {what}: {reason}".split())
        os.write(2, line.encode("utf-8", "replace") + b"\n")
    finally:  # also if standard error is closed
        os._exit(BLOCK)
