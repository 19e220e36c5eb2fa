"""Closing of connections of a server that does not reveal the socket of a request.

Each connection first gets a response of an unusual size. The sockets that then have sent that many bytes are closed.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Mapping

# Bytes of such a response's body, and the most that the server's headers take.
BODY_BYTES, _HEADER_BYTES = 4_099, 1_000
# Linux's `struct tcp_info`: bytes that wait, were sent, and were retransmitted.
_TCP_INFO = struct.Struct("=144xI52xQQ")
_LOOK_EVERY, _LOOKS = 0.02, 250


def end_connections(port: int, answers: Mapping[Callable[[], None], str], is_done: Callable[[], bool]) -> None:
    """Send these responses, and shut down the connections that carry them.

    Args:
        port: the local port of the connections.
        answers: each sends headers and `BODY_BYTES` on its connection; its value is the connection's remote address.
        is_done: returns whether the connections no longer need closing.
    """
    addresses = set(answers.values())
    before = {socket_: sent for socket_ in _sockets() if (sent := _bytes_sent(socket_, port, addresses)) is not None}
    for answer in answers:
        answer()
    for _ in range(_LOOKS):
        if is_done():
            return
        time.sleep(_LOOK_EVERY)
        for found in list(before):
            now = _bytes_sent(found, port, addresses)
            if now is None:
                del before[found]
            elif BODY_BYTES <= now - before[found] <= BODY_BYTES + _HEADER_BYTES:
                _shut_down(found[0])
                del before[found]


def _sockets() -> list[tuple[int, int]]:
    """Return the descriptor and inode of each open file, because a descriptor may soon be reused."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append((int(name), os.stat(int(name)).st_ino))
        except OSError:
            continue  # closed meanwhile
    return found


def _bytes_sent(which: tuple[int, int], port: int, addresses: set[str]) -> int | None:
    """Return the bytes sent, or None if this is no connection of the port from such an address."""
    try:
        if os.stat(which[0]).st_ino != which[1]:
            return None
        connection = socket.socket(fileno=which[0])
    except OSError:
        return None
    try:
        if connection.getsockname()[1] != port or connection.getpeername()[0] not in addresses:
            return None
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        waiting, sent, again = _TCP_INFO.unpack(info)
    except (OSError, IndexError, struct.error):
        return None
    finally:
        connection.detach()
    return int(waiting + sent - again)


def _shut_down(descriptor: int) -> None:
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other end closed it first
    finally:
        connection.detach()
