"""Encryption of short secrets, with and without a passphrase."""

import pytest

from adapters.text_cipher import TextCipher

KEY, OTHER = "a" * 32, "b" * 32


def test_a_text_is_unreadable_without_the_passphrase() -> None:
    stored = TextCipher(KEY).encrypt("token")
    assert "token" not in stored
    assert TextCipher(KEY).decrypt(stored) == "token"
    assert stored != TextCipher(KEY).encrypt("token")
    with pytest.raises(ValueError, match="another SAGAHOLD_ENCRYPTION_KEY"):
        TextCipher(OTHER).decrypt(stored)
    with pytest.raises(ValueError, match="set SAGAHOLD_ENCRYPTION_KEY"):
        TextCipher().decrypt(stored)
    with pytest.raises(ValueError, match="another SAGAHOLD_ENCRYPTION_KEY"):
        TextCipher(KEY).decrypt(stored[:-8] + "AAAAAAA=")


def test_a_text_from_before_the_passphrase_is_read() -> None:
    assert TextCipher(KEY).decrypt(TextCipher().encrypt("token")) == "token"


def test_no_passphrase_is_shown() -> None:
    assert KEY not in repr(TextCipher(KEY))
