"""A sandbox for the process that sends notifications: TCP to public addresses, and little else.

It uses Python's audit hooks, below every library, so it checks the address of every connection. A hook applies to the
whole process and cannot be removed, so the sender is a separate process (`adapters.notify.sender`).
"""

import os
import socket
import ssl
import sys
import sysconfig
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from domain.values.network import Network, is_allowed, unmapped

_NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.startfile")
_DATAGRAMS = ("socket.bind", "socket.sendto", "socket.sendmsg")
# Files that libraries read: Python and its packages, certificates, time zones and MIME types.
_READABLE = tuple(
    os.path.realpath(folder)
    for folder in (
        *(sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()),
        *("/usr/share/zoneinfo", "/etc/localtime", "/etc/ssl", "/etc/mime.types", "/etc/pki", "/etc/timezone"),
        *(path for path in (ssl.get_default_verify_paths().cafile, ssl.get_default_verify_paths().capath) if path),
    )
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class NetworkBlocked(OSError):
    """A blocked access, as an `OSError`, which libraries expect from a network."""


class Guard:
    """The audit hook. `blocked` is the reason of the first block since `fresh`; it also blocks everything after."""

    def __init__(self, allow: Sequence[Network]) -> None:
        self._allow = tuple(allow)
        self.blocked: str | None = None

    def fresh(self) -> None:
        self.blocked = None

    def install(self) -> None:
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            self._connect(args[0], args[1])
        elif event == "open":
            self._open(*args)
        elif event in _NEVER:
            self._refuse("the channel's service wants to start a program")
        elif event in _DATAGRAMS:
            self._refuse("the channel's service does not speak TCP")

    def _connect(self, sock: socket.socket, address: Any) -> None:
        if self.blocked is not None:
            self._refuse(self.blocked)
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
            self._refuse("the channel's service does not speak TCP")
        try:
            # The zone of a link-local address is not part of the address.
            target = unmapped(ip_address(address[0].partition("%")[0]))
        except ValueError:
            self._refuse("the channel's service connects by name")
        if not is_allowed(target, self._allow):
            self._refuse(
                "the channel leads to an address that is not public: use another, "
                "or have the operator name its network in SAGAHOLD_EGRESS_ALLOW"
            )

    def _open(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int):
            return
        found = os.path.realpath(os.fsdecode(path))
        if found == os.devnull:
            return
        readable = any(found == root or found.startswith(root + os.sep) for root in _READABLE)
        if flags & _WRITING or not readable:
            self._refuse("the channel's service wants to access a file of this machine")

    def _refuse(self, why: str) -> Any:
        self.blocked = why
        raise NetworkBlocked(why)
