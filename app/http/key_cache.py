"""A cache of the principals of keys, for a few seconds, so that most requests need no database query."""

import time
from collections.abc import Callable

from domain.identity.access import Principal
from services.identity.tokens import hash_of

# A revoked key must stop working everywhere within 5 s, including the request in progress.
TTL_SECONDS = 4.0
# The maximum number of cached keys; beyond it, the cache is cleared.
CAPACITY = 10_000


class KeyCache:
    """A cache of valid keys. `look_up` returns the principal of a key's hash, or None."""

    def __init__(self, look_up: Callable[[bytes], Principal | None]) -> None:
        self._look_up = look_up
        self._known: dict[bytes, tuple[float, Principal]] = {}

    def principal(self, key: str) -> Principal | None:
        hash_ = hash_of(key)
        known = self._known.get(hash_)
        asked_at = time.monotonic()
        if known is not None and asked_at < known[0]:
            return known[1]
        found = self._look_up(hash_)
        if len(self._known) >= CAPACITY:
            self._known.clear()
        if found is None:
            self._known.pop(hash_, None)
        else:
            self._known[hash_] = (asked_at + TTL_SECONDS, found)
        return found
