"""The port of the web process."""

import socket
from contextlib import closing

from cli.devstack.errors import StackError


def free_port(host: str) -> int:
    with closing(_bound(host, 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


def refuse_port_in_use(host: str, port: int) -> None:
    """Raise `StackError` if the port is in use.

    The web server shares its port among processes, so it would silently join a port that another program uses.
    """
    _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # Ignore lingering connections of an earlier run; a listening socket still fails.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise StackError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another --host or --port"
        ) from None
    return bound
