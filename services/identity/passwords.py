"""Passwords: hashed by argon2id with the library's own parameters, anew when those have changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from domain.values.errors import FieldError, Invalid
from services.identity.login_throttle import TooManyAttempts

# Length is what counts (NIST SP 800-63B): no rules about kinds of characters.
MIN_LENGTH, MAX_LENGTH = 12, 128
# Each takes 64 MiB and a core for some 50 ms: a flood of sign-ins waits here instead of taking the machine.
HASHES_AT_ONCE = 2
# Whoever would wait for longer is told to come back.
WAIT_SECONDS = 10.0

_hasher = PasswordHasher()
_turns = BoundedSemaphore(HASHES_AT_ONCE)


def hash_password(password: str, path: str = "password") -> str:
    """Raises `Invalid` for one that is too short or too long."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid([FieldError(path, f"must have {MIN_LENGTH} to {MAX_LENGTH} characters")])
    with _turn():
        return _hasher.hash(_bytes(password))


def is_password(password: str, stored: str | None) -> bool:
    """Takes as long where nothing is stored: that would tell who has an account."""
    if len(password) > MAX_LENGTH:
        password = ""
    with _turn():
        try:
            return _hasher.verify(stored or _nobodys(), _bytes(password)) and stored is not None
        except (VerifyMismatchError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    return _hasher.check_needs_rehash(stored)


@cache
def _nobodys() -> str:
    return _hasher.hash(b"nobody has this one")


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
