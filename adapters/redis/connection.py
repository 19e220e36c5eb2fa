"""The one place that makes clients of Redis, and the broker's settings, from REDIS_URL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from domain.values.redis_address import RedisAddress, parse

# Seconds for which a publisher, beat or a consumer waits for a frozen Redis. A healthy one answers within 1 ms. With
# less, a slow fsync would count as an outage; with more, all other wake-ups would be late.
TIMEOUT = 2
HEALTH_CHECK_INTERVAL = 5
_TIMEOUTS = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}


def connect(url: str) -> Redis:
    """Return a client with short timeouts, which connects at its first command.

    By sentinels, each new connection asks for the master, and a demoted master's connections are closed.
    """
    address = parse(url)
    options: dict[str, Any] = {
        **_TIMEOUTS,
        **_tls(address),
        "health_check_interval": HEALTH_CHECK_INTERVAL,
        "username": address.username,
        "password": address.password,
        "db": address.database,
        # A failed command is not repeated: the caller has a better way, such as a sweep.
        "retry": _no_retry(),
    }
    if address.path is not None:
        return Redis(unix_socket_path=address.path, **options)
    if address.master is None:
        host, port = address.hosts[0]
        return Redis(host=host, port=port, **options)
    sentinel = _Sentinels(address.hosts, sentinel_kwargs=_sentinel_options(address), **options)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(address.master)  # type: ignore[no-untyped-call]
    return client


class _Sentinels(Sentinel):
    """Sentinels whose error gives the reason of one of them, in place of each one's whole configuration."""

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            why = "they watch none of this name, or it is down"
            try:
                self.sentinels[0].ping()
            except RedisError as refused:
                why = str(refused)
            raise MasterNotFoundError(f"{brief(error)}: {why}") from None


def brief(error: BaseException) -> str:
    """Return the error's message without the configurations of sentinels, which redis-py adds."""
    return str(error).partition(" : <")[0] or type(error).__name__


@dataclass(frozen=True, slots=True)
class Broker:
    """Celery's `broker_url`, `broker_use_ssl`, and some of its `broker_transport_options`."""

    url: str = field(repr=False)
    tls: Mapping[str, Any] | None
    options: Mapping[str, Any] = field(repr=False)


def broker(url: str) -> Broker:
    """Return the settings by which kombu reaches the same Redis, with the same checks of certificates."""
    address = parse(url)
    name, word = (quote(part or "", safe="") for part in (address.username, address.password))
    credentials = f"{name}:{word}@" if name or word else ""
    # By default kombu checks no certificate.
    tls = None if address.tls is None else {"ssl_cert_reqs": "required", **address.tls}
    if address.path is not None:
        database = f"?virtual_host={address.database}"
        return Broker(f"redis+socket://{credentials}{quote(address.path)}{database}", None, {})
    scheme = "sentinel" if address.master else "redis" if tls is None else "rediss"
    urls = [
        f"{scheme}://{credentials}{f'[{host}]' if ':' in host else host}:{port}/{address.database}"
        for host, port in address.hosts
    ]
    options: dict[str, Any] = {}
    if address.master:
        options = {"master_name": address.master, "sentinel_kwargs": _sentinel_options(address)}
    return Broker(";".join(urls), tls, options)


def why_unusable(client: Redis) -> str | None:
    """Return why this Redis cannot carry wake-ups, with what to do, or None."""
    try:
        # The user of an ACL may be allowed to do all that is needed, but not this.
        mode = _mode(client)
        if mode is not None:
            return mode
        # A write, because a replica and a Redis without memory answer PING as well.
        client.set("sagahold:ready", "", ex=60)
    except (RedisError, OSError) as error:
        return brief(error)
    return None


def _mode(client: Redis) -> str | None:
    try:
        mode = client.info("server").get("redis_mode")
    except RedisError as error:
        if "permissions" in str(error) or "NOPERM" in str(error):
            return None
        raise
    return UNUSABLE.get(str(mode))


# By the mode of a server, why it cannot be used and what to do.
UNUSABLE = {
    "cluster": "it is a Redis Cluster, which Celery cannot use: give one Redis server, or sentinels",
    "sentinel": "it is a sentinel: write sentinel://host:port/0?master=name",
}


def _tls(address: RedisAddress) -> dict[str, Any]:
    return {} if address.tls is None else {"ssl": True, **address.tls}


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _sentinel_options(address: RedisAddress) -> dict[str, Any]:
    """Return the options of connections to sentinels. Without a retry, a dead one delays each command only once."""
    credentials = {"username": address.sentinel_username, "password": address.sentinel_password}
    return {**_TIMEOUTS, **_tls(address), **credentials, "retry": _no_retry()}
