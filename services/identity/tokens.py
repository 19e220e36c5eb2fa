"""Keys, sessions and links are tokens of 256 random bits. Only hashes are stored: a stolen backup opens nothing."""

import hashlib
import secrets


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> bytes:
    """Fast: there is nothing to guess, and a slow hash would only slow us."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
