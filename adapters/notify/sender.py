"""`python -m adapters.notify.sender [network …]`: send the notifications on standard input with apprise, one by one.

`adapters.notify.channel` starts it, and kills it if it takes too long.

It is a separate process because the library contains code for over a hundred services. That code knows no deadline,
reads responses of any length, sleeps between requests and may open files. A separate process can be killed and guarded.
"""

import ipaddress
import json
import logging
import os
import resource
import select
import smtplib
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from apprise import Apprise, AppriseAsset, NotifyFormat
from apprise.plugins.base import NotifyBase
from apprise.plugins.email import NotifyEmail

from adapters.notify.guard import Guard
from adapters.notify.observer import Observer

# Notifications arrive in bursts. After this idle time, the process ends to free its memory.
IDLE_SECONDS = 60
# The process takes about 60 MB. An endless response must not exhaust the machine's memory.
MEMORY_BYTES = 512 << 20
# Services of this machine instead of the network, and one that only forwards messages to its own channels.
LOCAL = frozenset(
    {"blink1", "dbus", "gio", "glib", "gnome", "growl", "kde", "macosx", "qt", "rsyslog", "syslog", "windows"}
)


class _Sender:
    def __init__(self, guard: Guard, observer: Observer) -> None:
        self._guard, self._observer = guard, observer
        self._asset = AppriseAsset(
            async_mode=False, http_redirects=False, pgp_autogen=False, pem_autogen=False, service_timeout=0
        )

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self._guard.fresh()
        self._observer.fresh()
        plugin = self._plugin(request["channel"])
        if self._guard.blocked is not None:
            return {"error": self._guard.blocked, "final": True}
        if isinstance(plugin, str):
            return {"error": plugin, "final": True}
        if "text" not in request:
            return {"error": None, "final": False}
        if request.get("to") is not None and isinstance(plugin, NotifyEmail):
            plugin.targets = [(False, request["to"])]
        sent = self._send(plugin, request)
        if sent and self._guard.blocked is None:
            return {"error": None, "final": False}
        why = self._guard.blocked or self._observer.error or "the service did not accept the message"
        return {"error": why, "final": self._guard.blocked is not None or self._observer.final}

    def _plugin(self, channel: str) -> NotifyBase | str:
        """Return the plugin for this channel, or the reason why there is none."""
        schema = channel.partition("://")[0].lower()
        if schema in LOCAL:
            return f"{schema}:// works only on one machine: use a service that reaches the person anywhere"
        plugin = Apprise.instantiate(channel, asset=self._asset, suppress_exceptions=True)
        if not isinstance(plugin, NotifyBase):
            return "this is not the URL of a known service: see https://appriseit.com for the format"
        if not plugin.enabled or plugin.category != "native":
            return f"{schema}:// is not available here"
        plugin.optional, plugin.service_retry, plugin.redirects = False, 0, False
        return plugin

    def _send(self, plugin: NotifyBase, request: dict[str, Any]) -> bool:
        mail = isinstance(plugin, NotifyEmail)
        body, body_format = (request["html"], NotifyFormat.HTML) if mail else (request["text"], NotifyFormat.TEXT)
        everyone = Apprise(asset=self._asset)
        everyone.add(plugin)
        try:
            return bool(everyone.notify(body=body, title=request["subject"], body_format=body_format))
        except Exception as error:  # the code of a hundred services may raise anything
            self._observer.error = self._observer.error or f"internal error ({type(error).__name__})"
            return False


def main() -> None:
    answers = _private_output()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The library logs channels with their secrets.
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    guard, observer = Guard([ipaddress.ip_network(text) for text in sys.argv[1:]]), Observer()
    sender = _Sender(guard, observer)
    _log_in_with_utf8()
    # Load the code of every service before the guard blocks its files.
    Apprise.instantiate("json://localhost")
    observer.install()
    guard.install()
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        request = sys.stdin.readline()
        if not request:
            break
        answers.write(json.dumps(sender.answer(json.loads(request))) + "\n")
        answers.flush()


class _Utf8(str):
    """A string that always encodes as UTF-8, as RFC 4616 requires; the standard library's mail client uses ASCII."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return str.encode(self, "utf-8", errors)


def _log_in_with_utf8() -> None:
    """Make passwords with characters outside ASCII work."""
    log_in: Any = smtplib.SMTP.auth

    def auth(client: Any, mechanism: str, answer: Callable[..., str | None], **more: Any) -> Any:
        def encodable(*challenge: bytes) -> str | None:
            # Some mechanisms derive values from the password itself.
            client.password = _Utf8(client.password)
            found = answer(*challenge)
            return None if found is None else _Utf8(found)

        return log_in(client, mechanism, encodable, **more)

    patched: Any = smtplib.SMTP
    patched.auth = auth


def _end_with_parent() -> None:
    """End when the parent ends, even during a message, which another worker then sends."""
    gone = select.poll()
    gone.register(sys.stdin, 0)
    gone.poll()
    os._exit(1)


def _private_output() -> TextIO:
    """Return the real output, and discard everything that libraries print."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


if __name__ == "__main__":
    main()
