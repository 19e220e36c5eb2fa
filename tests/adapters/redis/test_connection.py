"""Clients and the broker's settings from REDIS_URL, on real servers with TLS, an ACL and sentinels."""

from collections.abc import Iterator

import kombu
import pytest
from redis.exceptions import ConnectionError

from adapters.redis.connection import broker, connect, why_unusable
from cli.devstack.waiting import wait_until
from tests.redis_servers import PASSWORD, USER, RedisServers, redis_servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    with redis_servers(tmp_path_factory.mktemp("redis")) as started:
        yield started


def to_broker(url: str) -> kombu.Connection:
    found = broker(url)
    return kombu.Connection(found.url, ssl=found.tls, transport_options=dict(found.options))


def send(url: str) -> object:
    """Send one message by Celery's library and receive it."""
    with to_broker(url) as connection:
        queue = connection.SimpleQueue("test")
        queue.put("hello")
        try:
            return queue.get(timeout=60).payload
        finally:
            queue.close()


def test_both_reach_it(servers: RedisServers) -> None:
    for url in (servers.url, servers.urls[servers.master()]):
        assert why_unusable(connect(url)) is None
        assert connect(url).execute_command("ACL", "WHOAMI").decode() == USER
        assert send(url) == "hello"


def test_a_certificate_of_another_authority_is_refused(servers: RedisServers) -> None:
    """By default Celery's library checks no certificate."""
    for url in (servers.url, servers.urls[servers.master()]):
        wrong = url.replace(str(servers.tls.authority), str(servers.tls.stranger))
        why = str(why_unusable(connect(wrong)))
        assert "certificate verify failed" in why
        assert len(why) < 300
        with pytest.raises(ConnectionError):
            to_broker(wrong).connect()
        open_to_all = url.replace(f"ssl_ca_certs={servers.tls.authority}", "ssl_cert_reqs=none")
        assert why_unusable(connect(open_to_all)) is None
        assert send(open_to_all) == "hello"


def test_wrong_words_are_named(servers: RedisServers) -> None:
    wrong_password = why_unusable(connect(servers.url.replace("of%20sagahold", "wrong")))
    assert "invalid username-password pair" in str(wrong_password)
    assert PASSWORD not in str(wrong_password)
    nobody = why_unusable(connect(servers.url.replace("of-sentinels", "wrong")))
    assert "No master found for 'main'" in str(nobody)
    assert "invalid username-password pair" in str(nobody)
    other = why_unusable(connect(servers.url.replace("master=main", "master=other")))
    assert other == "No master found for 'other': they watch none of this name, or it is down"
    host, port = servers.sentinel_address
    as_server = f"rediss://:of-sentinels@{host}:{port}/0?ssl_ca_certs={servers.tls.authority}"
    assert "it is a sentinel: write sentinel://host:port/0?master=name" in str(why_unusable(connect(as_server)))


def test_clients_follow_the_master(servers: RedisServers) -> None:
    """An open connection to the demoted master is given up."""
    client = connect(servers.url)
    client.set("place", servers.master())
    before = servers.master()
    servers.switch_over()
    assert wait_until(lambda: servers.master() != before, 120), servers.logs()
    assert wait_until(lambda: why_unusable(client) is None, 120), servers.logs()
    assert client.get("place").decode() == before
    assert wait_until(lambda: send(servers.url) == "hello", 60)
