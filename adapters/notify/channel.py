"""Messages to people by e-mail and chat. A channel is a URL of the library apprise.

The library runs in separate processes (`adapters.notify.sender`). A process that does not deliver a message by its
deadline is killed. That closes its connections, whatever the code for that service waits for.
"""

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote_plus

from domain.delivery.notification import EMAIL, RenderedMessage, SendResult
from domain.identity.person import MAX_CHANNEL
from domain.values.network import Network

# Longer than a slow mail server takes to check its client, and the longest time that a message may take.
DEADLINE_SECONDS = 20.0
# Messages that one worker sends at once. A stuck one occupies a thread that others need, and a process of 60 MB.
MOST_AT_ONCE = 4
# Idle processes end by themselves a little later.
_REUSED_WITHIN = 50.0
# Parameters of a channel that read files, report a failure as success, or retry.
_REFUSED = frozenset(
    {"attach", "optional", "pgp", "pgpprv", "pgppub", "redirect", "retry", "store", "template", "wait", "wkd"}
)
_PARAMETER = re.compile("[?&;]")
_ROOT = Path(__file__).parents[2]


class Messenger:
    """A sender of messages, safe to share between threads. `mail_url` is the mail server for the channel `email`."""

    def __init__(self, allow: Sequence[Network], mail_url: str | None = None) -> None:
        self._networks = [str(network) for network in allow]
        self._mail_url = mail_url
        self._lock = threading.Lock()
        self._idle: list[_Process] = []

    def send(
        self, channel: str, recipient: str, message: RenderedMessage, deadline: float = DEADLINE_SECONDS
    ) -> SendResult:
        """Send the message. Never raises; the returned error may be stored and shown, because it hides the channel."""
        to = None
        if channel == EMAIL:
            if self._mail_url is None:
                return SendResult("SAGAHOLD_MAIL_URL is not set, so no e-mail is sent", final=True)
            channel, to = self._mail_url, recipient
        elif field_error := _syntax_error(channel):
            return SendResult(field_error, final=True)
        request = {"channel": channel, "subject": message.subject, "text": message.text, "html": message.html, "to": to}
        return self._run(request, deadline)

    def channel_error(self, channel: str) -> str | None:
        """Return what is wrong with a person's channel, or None if it can be tried."""
        if channel == EMAIL:
            return None if self._mail_url else "no mail server is set up (SAGAHOLD_MAIL_URL): give a mailto:// URL"
        return _syntax_error(channel) or self._run({"channel": channel}, DEADLINE_SECONDS).error

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _run(self, request: dict[str, Any], deadline: float) -> SendResult:
        until = time.monotonic() + deadline
        process = self._take()
        try:
            answer = process.run(request, until)
        except TimeoutError:
            process.end()
            return SendResult(f"the service did not accept the message within {deadline:g} s")
        except (OSError, ValueError):
            process.end()
            return SendResult("the sending process ended unexpectedly")
        except BaseException:
            process.end()
            raise
        with self._lock:
            self._idle.append(process)
        return SendResult(answer["error"], answer["final"])

    def _take(self) -> "_Process":
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_reusable():
                    return process
                process.end()
        return _Process(self._networks)


class _Process:
    def __init__(self, networks: Sequence[str]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-B", "-m", "adapters.notify.sender", *networks],
            cwd=_ROOT,
            # No secrets, no proxy and no .netrc.
            env={"HOME": os.devnull, "PATH": os.defpath, "LANG": "C.UTF-8", **_certificates()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C goes only to the parent, which ends this process.
            start_new_session=True,
        )
        self._stdin, self._stdout = cast(IO[bytes], self._popen.stdin), cast(IO[bytes], self._popen.stdout)
        self._used = time.monotonic()

    def is_reusable(self) -> bool:
        """Return whether it is alive and not about to end by itself."""
        return self._popen.poll() is None and time.monotonic() - self._used < _REUSED_WITHIN

    def run(self, request: dict[str, Any], until: float) -> dict[str, Any]:
        """Send one request and return its answer. Raises `TimeoutError`, or `OSError` or `ValueError` if it died."""
        # This does not block: the process reads a whole request before it writes, and a request fits into the pipe.
        self._stdin.write(json.dumps(request).encode() + b"\n")
        self._stdin.flush()
        readable = select.poll()
        readable.register(self._stdout, select.POLLIN)
        answer = b""
        while not answer.endswith(b"\n"):
            if not readable.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = os.read(self._stdout.fileno(), 4096)
            if not chunk:
                raise BrokenPipeError
            answer += chunk
        self._used = time.monotonic()
        return dict(json.loads(answer))

    def end(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()


def _certificates() -> dict[str, str]:
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    return {name: os.environ[name] for name in names if name in os.environ}


def _syntax_error(channel: str) -> str | None:
    if len(channel) > MAX_CHANNEL:
        return f"a channel has at most {MAX_CHANNEL} characters"
    if not channel.isprintable() or "://" not in channel:
        return "a channel is a URL like mailto://user:password@mail.example.com, or the word email"
    # The library also ends a parameter at a semicolon, and accepts parameters after a fragment.
    parameters = {unquote_plus(each.partition("=")[0]).strip().lower() for each in _PARAMETER.split(channel)[1:]}
    if refused := sorted(parameters & _REFUSED):
        return f"the parameter {refused[0]} cannot be used here"
    return None
