"""Tokens of keys, sessions and links: 256 random bits. Only hashes are stored, so a stolen backup gives no access."""

import hashlib
import secrets


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> bytes:
    """Hash a token. A fast hash is enough, because a random token cannot be guessed."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
