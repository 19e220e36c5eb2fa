"""Passwords: hashed by argon2id with the library's parameters, and hashed again after those change."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from domain.values.errors import FieldError, Invalid
from services.identity.login_throttle import TooManyAttempts

# NIST SP 800-63B: require length, not kinds of characters.
MIN_LENGTH, MAX_LENGTH = 12, 128
# Each hash takes 64 MiB and about 50 ms of one core. This limit keeps a flood of sign-ins from taking the machine.
HASHES_AT_ONCE = 2
# A sign-in that would wait longer is refused with `TooManyAttempts`.
WAIT_SECONDS = 10.0

_hasher = PasswordHasher()
_turns = BoundedSemaphore(HASHES_AT_ONCE)


def hash_password(password: str, path: str = "password") -> str:
    """Hash a password. Raise `Invalid` if it is too short or too long."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid([FieldError(path, f"must have {MIN_LENGTH} to {MAX_LENGTH} characters")])
    with _turn():
        return _hasher.hash(_bytes(password))


def is_password(password: str, stored: str | None) -> bool:
    """Return whether the password is right. Without a stored hash it takes as long, to hide who has an account."""
    if len(password) > MAX_LENGTH:
        password = ""
    with _turn():
        try:
            return _hasher.verify(stored or _dummy_hash(), _bytes(password)) and stored is not None
        except (VerifyMismatchError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    return _hasher.check_needs_rehash(stored)


@cache
def _dummy_hash() -> str:
    return _hasher.hash(b"no account has this password")


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "replace")


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=WAIT_SECONDS):
        raise TooManyAttempts(int(WAIT_SECONDS))
    try:
        yield
    finally:
        _turns.release()
