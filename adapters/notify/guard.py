"""What a process that sends notifications may do to the world: talk over TCP to public addresses, and little else.

For a process of its own (`adapters.notify.sender`), as it holds for all of it and cannot be undone. It stands in
Python's audit hooks, below every library: whatever opens the connection, the address that it is opened to is checked.
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
# What libraries read by themselves: Python and its packages, certificates, time zones, kinds of files.
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
    """A kind of error that libraries expect of a network."""


class Guard:
    """`blocked`: why something was refused since `fresh`; after a refusal nothing more is let through."""

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
            # Of a link-local one the zone is no part of the address.
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
            self._refuse("the channel's service wants a file of this machine")

    def _refuse(self, why: str) -> Any:
        self.blocked = why
        raise NetworkBlocked(why)
