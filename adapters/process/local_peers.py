"""The users whose programs on this machine are connected to a local port, by the kernel's table."""

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path

_ESTABLISHED = "01"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def users_connected_to(port: int, tables: Sequence[Path] = _TABLES) -> set[int]:
    """Return the user ids of connections from loopback, empty if the kernel has no such table."""
    return {user for table in tables for user in _users(table, port)}


def _users(table: Path, port: int) -> Iterator[int]:
    try:
        _, *rows = table.read_text().splitlines()
    except (OSError, ValueError):
        return
    for row in rows:
        _, _, remote, state, _, _, _, user, *_ = row.split()
        address, _, remote_port = remote.rpartition(":")
        if state == _ESTABLISHED and int(remote_port, 16) == port and _is_loopback(address):
            yield int(user)


def _is_loopback(written: str) -> bool:
    """Return whether the address is loopback. The kernel writes words of four bytes in the machine's byte order."""
    raw = b"".join(bytes.fromhex(written[at : at + 8])[::-1] for at in range(0, len(written), 8))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
