"""People: their addresses, names and channels."""

import pytest

from domain.identity.person import (
    MAX_CHANNEL,
    MAX_CHANNELS,
    MAX_NAME,
    channel_errors,
    group_name_errors,
    name_errors,
    normal_email,
)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (" Ada@Example.ORG ", "ada@example.org"),
        ("ada", None),
        ("ada@example.org\u212a", None),  # the Kelvin sign becomes a plain k in lower case
        ("a" * 400 + "@example.org", None),
    ],
)
def test_an_address_is_stored_in_one_form(given: str, stored: str | None) -> None:
    assert normal_email(given) == stored


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * (MAX_NAME + 1)])
def test_a_name_is_short_and_printable(name: str) -> None:
    assert [field_error.path for field_error in name_errors(name)] == ["name"]
    assert list(name_errors("Ada")) == []


def test_a_channel_is_a_url_or_a_persons_address() -> None:
    assert list(channel_errors(["email", "slack://a/b/c"])) == []
    assert [field_error.path for field_error in channel_errors(["email"], personal=False)] == ["channels[0]"]
    assert [field_error.path for field_error in channel_errors(["x://y", "x://" + "y" * MAX_CHANNEL])] == [
        "channels[1]"
    ]
    assert [field_error.path for field_error in channel_errors(["x://y"] * (MAX_CHANNELS + 1))] == ["channels"]


def test_a_group_is_named_like_a_namespace() -> None:
    assert list(group_name_errors("groups", "on-call")) == []
    assert [field_error.path for field_error in group_name_errors("groups", "-On call")] == ["groups"]
