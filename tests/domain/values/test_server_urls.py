"""The URLs in the settings, one by one. tests/test_settings.py has the variables that contain them."""

from collections.abc import Callable

import pytest

from domain.values import server_urls as urls
from domain.values.network import is_loopback

Check = Callable[[str], str | None]


@pytest.mark.parametrize(
    ("check", "text", "result"),
    [
        (urls.database_url, "postgres://u:p@db:5432/x?y=1", "postgresql+psycopg2://u:p@db:5432/x?y=1"),
        (urls.public_url, "https://hold.example.com/base/", "https://hold.example.com/base"),
        (urls.model_url, "", ""),
        (urls.model_url, "http://localhost:8080/v1", "http://localhost:8080/v1"),
        (urls.collector_url, "http://collector:4318", "http://collector:4318"),
        (urls.issuer_url, "", ""),
        (urls.issuer_url, "https://id.example.com/", "https://id.example.com/"),
        (urls.issuer_url, "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        (urls.mail_url, "", None),
        (urls.mail_url, "mailtos://u:p@mail.test?from=a@b.c", "mailtos://u:p@mail.test?from=a@b.c"),
    ],
)
def test_accepted(check: Check, text: str, result: str | None) -> None:
    assert check(text) == result


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (urls.database_url, "mysql://secret@db/x"),
        (urls.database_url, "postgresql://u:secret@db:99999/x"),
        (urls.database_url, "postgresql://u:secret@one,two/x?target_session_attrs=any"),
        (urls.database_url, "postgresql://u:secret@db/x?target_session_attrs=standby"),
        (urls.public_url, "https://u:secret@hold.example.com"),
        (urls.public_url, "https://hold.example.com/?x=1"),
        (urls.public_url, "https://hold.example.com:0"),
        (urls.model_url, "http://u:secret@localhost:port/v1"),
        (urls.collector_url, "http://c/#secret"),
        (urls.issuer_url, "http://id.example.com"),
        (urls.mail_url, "smtp://u:secret@mail.test"),
        (urls.mail_url, "mailtos://u:secret@mail.test?to=a@b.c"),
        (urls.mail_url, "mailto://u:secret@[::1"),
    ],
)
def test_refused_without_its_password(check: Check, text: str) -> None:
    with pytest.raises(ValueError, match=r"^\S") as caught:
        check(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [("localhost", True), ("127.8.8.8", True), ("::1", True), ("10.0.0.1", False), ("hold.example.com", False)],
)
def test_loopback(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one
