"""`sagahold hook doctor`: prove that the hook blocks, and that it asks."""

import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import click

from cli.client import Failure, open_server
from cli.doctor import shown
from cli.doctor.check import Check
from cli.held_action import ActionDesk
from cli.hook import settings
from cli.hook.claude import BLOCK, MARGIN, WAIT_MARGIN
from cli.hook.decide import external_id_of
from cli.hook.events import Event, read_event
from cli.hook.install import folder_of, program
from cli.hook.own_files import FILE
from cli.hook.rules import BadRules, load
from cli.session import server_options
from domain.pauses.pause import Status

# The hook waits for one second.
TIMEOUT = MARGIN + WAIT_MARGIN + 1
RUN_SECONDS = 60


@click.command(params=server_options())
def doctor(url: str | None, data_dir: Path, as_json: bool) -> None:
    """Run the hook against a server that is down, that is wrong, and your own.

    Exit with status 1 if a check fails. The last check makes a request on your server, and cancels it.
    """
    event = _event()
    found = shown(_checks(event, url, data_dir), as_json)
    wrong = sum(check.good is not True for check in found)
    if wrong:
        raise Failure(f"{wrong} of {len(found)} checks failed")


def _checks(event: Event, url: str | None, data_dir: Path) -> Iterator[Check]:
    command, check = installed()
    yield check
    yield from _rules()
    with tempfile.TemporaryDirectory() as folder:
        hold_all = Path(folder) / FILE
        hold_all.write_text("")
        run = _Run(command, hold_all, {"SAGAHOLD_URL": url} if url else {}, data_dir)
        with _closed_port() as port:
            yield run.blocks("server down", event, SAGAHOLD_URL=f"http://127.0.0.1:{port}")
        with _garbage() as port:
            yield run.blocks("wrong", event, SAGAHOLD_URL=f"http://127.0.0.1:{port}")
        yield run.blocks("bad key", event, SAGAHOLD_API_KEY="hitl_wrong")
        yield run.blocks("bad event", None)
        yield run.blocks("no program", event, PATH="/nowhere", broken=True)
        yield _asks(run, event, url, data_dir)


class _Run:
    """The command of the settings, in a changed environment."""

    def __init__(self, command: str, rules: Path, environ: dict[str, str], data_dir: Path) -> None:
        self._command = re.sub(r" --timeout \d+", "", command)
        self._options = f" hook claude --timeout {TIMEOUT} --rules {rules}"
        self._environ = {**os.environ, **environ, "SAGAHOLD_DATA_DIR": str(data_dir.absolute())}

    def run(self, event: Event | None, broken: bool, environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        command = self._command.replace(" hook claude", self._options)
        if broken:
            command = re.sub(r"^(.*?) hook claude", "/nowhere/sagahold hook claude", command)
        text = "" if event is None else json.dumps(event.document)
        return subprocess.run(
            ["/bin/sh", "-c", command],
            input=text,
            env={**self._environ, **environ},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def blocks(self, name: str, event: Event | None, *, broken: bool = False, **environ: str) -> Check:
        try:
            ran = self.run(event, broken, environ)
        except subprocess.TimeoutExpired:
            return Check(name, False, f"the hook did not end within {RUN_SECONDS} s")
        if ran.returncode == BLOCK:
            return Check(name, True, f"blocks: {_last_line(ran.stderr)}")
        return Check(name, False, f"exit status {ran.returncode} lets the tool run: run `sagahold hook install`")


def installed() -> tuple[str, Check]:
    """Return the hook's command, and whether the settings have it for every event."""
    default = f"{program()} hook claude || exit 2"
    events: dict[str, str] = {}
    files = []
    for file in _settings_files():
        try:
            found = settings.read(file)
        except Failure as error:
            return default, Check("installed", False, error.format_message())
        if found.get("disableAllHooks"):
            return default, Check("installed", False, f"{file} has disableAllHooks: no hook runs. Remove that line")
        for event, entry, weakness in settings.installed(found):
            if weakness:
                said = f"{file} has it for {event} {weakness}: run `sagahold hook install`"
                return default, Check("installed", False, said)
            events.setdefault(event, str(entry["command"]))
            files.append(str(file))
    missing = [event for event in settings.EVENTS if event not in events]
    if missing:
        return default, Check("installed", False, f"not for {', '.join(missing)}: run `sagahold hook install`")
    command = events[settings.EVENTS[0]]
    if len(set(files)) > 1 and len(set(events.values())) > 1:
        return command, Check("installed", False, f"with different commands in {' and '.join(sorted(set(files)))}")
    return command, Check("installed", True, f"in {' and '.join(sorted(set(files)))}")


def _settings_files() -> list[Path]:
    project, user = folder_of(False), folder_of(True)
    return [project / "settings.json", project / "settings.local.json", user / "settings.json"]


def _rules() -> Iterator[Check]:
    there = [file for user in (False, True) if os.path.lexists(file := folder_of(user) / FILE)]
    try:
        counts = [f"{len(load(file).rules)} rules in {file}" for file in there]
    except BadRules as error:
        yield Check("rules", False, f"{error}. Until then the hook blocks every call")
        return
    yield Check("rules", True, "; ".join(counts) or "none: every call is held")


def _asks(run: _Run, event: Event, url: str | None, data_dir: Path) -> Check:
    try:
        ran = run.run(event, False, {})
        if ran.returncode == BLOCK:
            return Check("asks", False, _last_line(ran.stderr).removeprefix("sagahold: blocked: "))
        decision = json.loads(ran.stdout)["hookSpecificOutput"]["permissionDecision"]
        with open_server(url, data_dir, decides=True) as server:
            desk = ActionDesk(server, time.monotonic() + RUN_SECONDS)
            held = desk.find(external_id_of(event))
            for pause in held:
                with suppress(click.ClickException):
                    desk.cancel(pause.watch_id, "sagahold hook doctor")
        good = decision == "deny" and [pause.status for pause in held] == [Status.PENDING]
        return Check("asks", good, f"{server.url} held the call" if good else f"the answer was {decision}, {held}")
    except (click.ClickException, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        return Check("asks", False, error.format_message() if isinstance(error, click.ClickException) else str(error))


def _event() -> Event:
    document = {
        "session_id": f"doctor-{uuid4()}",
        "cwd": os.getcwd(),
        "hook_event_name": "PreToolUse",
        "tool_name": "sagahold hook doctor",
        "tool_input": {"description": "a test of the hook, which cancels this request"},
        "tool_use_id": "doctor",
    }
    return read_event(json.dumps(document).encode())


@contextmanager
def _closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def _garbage() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>approved</html>")

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


def _last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "no reason given")
