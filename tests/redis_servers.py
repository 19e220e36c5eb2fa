"""Redis as in production: TLS, a user with a password, a replica, and sentinels that switch over. Debian's Redis.

The embedded one has no TLS.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import ResponseError

from adapters.redis.connection import connect
from cli.devstack.ports import free_port
from cli.devstack.waiting import wait_until
from tests.certificates import Certificates, certificates
from tests.debian import program

USER, PASSWORD, SENTINEL_PASSWORD = "sagahold", "of sagahold/?", "of-sentinels"
# As docs/operations.md prints them.
RIGHTS = "~* &* +@all -@admin -@dangerous +info"
SENTINELS = 3


class RedisServers:
    """Two Redis servers, the first of which is the master at the beginning, and sentinels, all with TLS.

    `url` leads to the master of the moment, and `urls` to each server.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # One binary plays all parts, by the name under which it is called.
        self._binary = folder / "redis-server"
        self._binary.symlink_to(program("redis-check-rdb", "redis-tools"))
        self.tls: Certificates = certificates(folder)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {name: free_port("127.0.0.1") for name in ("one", "two", *self._sentinels())}
        for name in ("one", "two"):
            self._write(name, *self._of_server(name))
            self.start(name)
        for name in self._sentinels():
            self._write(name, *self._of_sentinel(name))
            self.start(name)
        hosts = ",".join(f"127.0.0.1:{self._ports[name]}" for name in self._sentinels())
        query = f"ssl_ca_certs={self.tls.authority}"
        login = f"{USER}:{PASSWORD.replace('/', '%2F').replace('?', '%3F').replace(' ', '%20')}"
        self.urls = {name: f"rediss://{login}@127.0.0.1:{self._ports[name]}/0?{query}" for name in ("one", "two")}
        more = f"master=main&sentinel_password={SENTINEL_PASSWORD}"
        self.url = f"sentinels://{login}@{hosts}/0?{more}&{query}"
        assert wait_until(self._whole, 120), self.logs()

    def start(self, name: str) -> None:
        mode = ["--sentinel"] if name in self._sentinels() else []
        with (self._folder / f"{name}.log").open("a") as log:
            command = [self._binary, self._folder / f"{name}.conf", *mode]
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self, name: str) -> None:
        self._running[name].kill()
        self._running.pop(name).wait(60)

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name)

    def master(self) -> str:
        """Return the name of the master, by the sentinel."""
        _, port = self._sentinel().execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return next(name for name, own in self._ports.items() if own == int(port))

    def switch_over(self) -> None:
        """Begin to make the replica the master, while both live. A sentinel may give that up: ask again."""
        # One is in progress, or the replica is not ready.
        with suppress(ResponseError):
            self._sentinel().execute_command("SENTINEL", "FAILOVER", "main")

    def has_replica(self) -> bool:
        """Return whether the sentinel knows a replica that it could make the master."""
        (replica,) = self._sentinel().execute_command("SENTINEL", "REPLICAS", "main") or [{}]
        return replica.get("flags") == "slave" and replica.get("master-link-status") == "ok"

    @property
    def sentinel_address(self) -> tuple[str, int]:
        return "127.0.0.1", self._ports["sentinel-0"]

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in sorted(self._folder.glob("*.log")))

    def _whole(self) -> bool:
        try:
            for name in self._sentinels():
                # Sentinels look for replicas and for each other every 10 s and 2 s.
                self._sentinel(name).execute_command(
                    "SENTINEL", "DEBUG", "info-period", 500, "publish-period", 200, "ping-period", 200
                )
            state = self._sentinel().sentinel_master("main")
            with connect(self.url) as client:
                client.ping()
            return bool(state["num-other-sentinels"] == SENTINELS - 1 and self.has_replica())
        except Exception:  # they are starting
            return False

    def _sentinel(self, name: str = "sentinel-0") -> Redis:
        return Redis(
            port=self._ports[name],
            password=SENTINEL_PASSWORD,
            ssl=True,
            ssl_ca_certs=str(self.tls.authority),
            decode_responses=True,
        )

    def _sentinels(self) -> list[str]:
        return [f"sentinel-{number}" for number in range(SENTINELS)]

    def _write(self, name: str, *lines: str) -> None:
        common = [
            "bind 127.0.0.1",
            "port 0",
            f"tls-port {self._ports[name]}",
            f"tls-cert-file {self.tls.certificate}",
            f"tls-key-file {self.tls.key}",
            f"tls-ca-cert-file {self.tls.authority}",
            "tls-auth-clients no",
            "tls-replication yes",
            f"dir {self._folder}",
        ]
        (self._folder / f"{name}.conf").write_text("\n".join([*common, *lines, ""]))

    def _of_server(self, name: str) -> list[str]:
        follow = [f"replicaof 127.0.0.1 {self._ports['one']}"] if name == "two" else []
        return [
            'save ""',
            f"dbfilename {name}.rdb",
            "repl-diskless-sync-delay 0",
            "user default off",
            f'user {USER} on ">{PASSWORD}" {RIGHTS}',
            "user replica on >of-replicas ~* &* +@all",
            "masteruser replica",
            "masterauth of-replicas",
            *follow,
        ]

    def _of_sentinel(self, name: str) -> list[str]:
        return [
            f"requirepass {SENTINEL_PASSWORD}",
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
            f"sentinel monitor main 127.0.0.1 {self._ports['one']} 2",
            "sentinel auth-user main replica",
            "sentinel auth-pass main of-replicas",
            "sentinel down-after-milliseconds main 1500",
            "sentinel failover-timeout main 6000",
        ]


@contextmanager
def redis_servers(folder: Path) -> Iterator[RedisServers]:
    started = RedisServers(folder)
    try:
        yield started
    finally:
        started.close()
