"""`python -m adapters.notify.sender [network …]`: sends notifications by apprise, one after the other, as its standard
input asks for them. See `adapters.notify.channel`, which starts it and ends it when it takes too long.

A process of its own, because the library speaks to over a hundred services through code that knows no deadline, reads
answers of any length, sleeps between requests, and may open files: here all of that has an end, and a guard.
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

# Notifications come in bursts; between them nothing is kept loaded.
IDLE_SECONDS = 60
# It takes about 60 MB; an answer without end must not take the machine's.
MEMORY_BYTES = 512 << 20
# Services of this machine, not of the network; and one that only passes messages on to channels of its own.
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
        why = self._guard.blocked or self._observer.error or "the service did not take the message"
        return {"error": why, "final": self._guard.blocked is not None or self._observer.final}

    def _plugin(self, channel: str) -> NotifyBase | str:
        """What sends to this channel, or why nothing does."""
        schema = channel.partition("://")[0].lower()
        if schema in LOCAL:
            return f"{schema}:// is a service of one machine: a channel has to reach its person anywhere"
        plugin = Apprise.instantiate(channel, asset=self._asset, suppress_exceptions=True)
        if not isinstance(plugin, NotifyBase):
            return "this is no URL of a service that is known here: see https://appriseit.com for how to write one"
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
        except Exception as error:  # code for a hundred services: what it raises is its own
            self._observer.error = self._observer.error or f"internal error ({type(error).__name__})"
            return False


def main() -> None:
    answers = _private_output()
    threading.Thread(target=_end_with_who_asks, daemon=True).start()
    # The library names channels in its log, with their secrets.
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    guard, observer = Guard([ipaddress.ip_network(text) for text in sys.argv[1:]]), Observer()
    sender = _Sender(guard, observer)
    _log_in_by_utf8()
    # Loads the code for every service, before the guard stands between it and its files.
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
    """A text of which the standard library's mail client wants ASCII; the protocol wants UTF-8 (RFC 4616)."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return str.encode(self, "utf-8", errors)


def _log_in_by_utf8() -> None:
    """A password with an umlaut is one like others."""
    log_in: Any = smtplib.SMTP.auth

    def auth(client: Any, mechanism: str, answer: Callable[..., str | None], **more: Any) -> Any:
        def encodable(*challenge: bytes) -> str | None:
            # What is made of the password itself is made of its bytes, too.
            client.password = _Utf8(client.password)
            found = answer(*challenge)
            return None if found is None else _Utf8(found)

        return log_in(client, mechanism, encodable, **more)

    patched: Any = smtplib.SMTP
    patched.auth = auth


def _end_with_who_asks() -> None:
    """Also in the middle of a message: a killed worker's is sent by another one."""
    gone = select.poll()
    gone.register(sys.stdin, 0)
    gone.poll()
    os._exit(1)


def _private_output() -> TextIO:
    """What libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


if __name__ == "__main__":
    main()
