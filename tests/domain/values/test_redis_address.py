"""REDIS_URL in its forms, and each mistake with what is wrong."""

import pytest

from domain.values.redis_address import RedisAddress, parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("redis://cache", RedisAddress((("cache", 6379),))),
        ("redis://:p%40s@cache:6380/3", RedisAddress((("cache", 6380),), password="p@s", database=3)),
        ("redis://cache?db=2", RedisAddress((("cache", 6379),), database=2)),
        ("redis://u:p@[::1]:1/", RedisAddress((("::1", 1),), username="u", password="p")),
        ("unix:///run/redis%20a.sock?db=1", RedisAddress(path="/run/redis a.sock", database=1)),
        ("rediss://cache", RedisAddress((("cache", 6379),), tls={})),
        (
            "rediss://cache/0?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            RedisAddress((("cache", 6379),), tls={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}),
        ),
        (
            "rediss://cache?ssl_cert_reqs=none",
            RedisAddress((("cache", 6379),), tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ),
        (
            "sentinel://u:p@a,b:1,[::1]:2/4?master=main&sentinel_username=x&sentinel_password=y",
            RedisAddress(
                (("a", 26379), ("b", 1), ("::1", 2)),
                username="u",
                password="p",
                database=4,
                master="main",
                sentinel_username="x",
                sentinel_password="y",
            ),
        ),
        ("sentinels://a?master=main", RedisAddress((("a", 26379),), master="main", tls={})),
    ],
)
def test_forms(text: str, found: RedisAddress) -> None:
    assert parse(text) == found
    assert "p@s" not in repr(found)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("http://:secret@cache", "must begin with redis://"),
        ("redis://:secret@cache/first", "number of a database"),
        ("redis://:secret@cache:0", "like name:port"),
        ("redis://:secret@cache:99999", "like name:port"),
        ("redis://:sec#ret@cache", "%23"),
        ("redis://:secret@a,b", "Redis Cluster"),
        ("redis://:secret@[::1", "is not like"),
        ("redis://:secret@cache?x", "is not like"),
        ("redis://:secret@cache?master=m", "'master', which is none of db"),
        ("redis://:secret@cache?ssl_ca_certs=/ca.pem", "TLS needs rediss:// or sentinels://"),
        ("rediss://:secret@cache?ssl_cert_reqs=maybe", "neither required nor none"),
        ("rediss://:secret@cache?ssl_check_hostname=1", "neither true nor false"),
        ("sentinel://:secret@a,b/0", "must name the master"),
        ("sentinel://:secret@a,,b/0?master=m", "like name:port"),
    ],
)
def test_mistakes(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=r".+") as error:
        parse(text)
    assert part in str(error.value)
    assert "sec" not in str(error.value)
