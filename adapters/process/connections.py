"""Ends connections of a server that does not say which socket a request came by.

An answer of a size that hardly any other has is given on them first; the sockets that then have sent so much are these.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Mapping

# Bytes of such an answer's body, and at most of the headers that the server puts before it.
BODY_BYTES, _HEADER_BYTES = 4_099, 1_000
# Linux' `struct tcp_info`: how many bytes wait to be sent, were sent, and were sent again.
_TCP_INFO = struct.Struct("=144xI52xQQ")
_LOOK_EVERY, _LOOKS = 0.02, 250


def end_connections(port: int, answers: Mapping[Callable[[], None], str], is_done: Callable[[], bool]) -> None:
    """Give these answers and shut down the connections on which they leave.

    Args:
        port: of this machine, at which the connections were accepted.
        answers: each puts `BODY_BYTES` and headers on its connection, which is one from the address that it maps to.
        is_done: whether nobody waits for these connections any more.
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
    """Descriptor and inode of each: a number may soon be another socket's."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append((int(name), os.stat(int(name)).st_ino))
        except OSError:
            continue  # closed meanwhile
    return found


def _bytes_sent(which: tuple[int, int], port: int, addresses: set[str]) -> int | None:
    """None where this is no connection from such an address at this port."""
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
        pass  # the other end was faster
    finally:
        connection.detach()
