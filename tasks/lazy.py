"""A value created on first use, once per process, even if several threads ask for it at the same time."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """A decorator for a function without arguments. If the function raises, the next call tries again."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        # `functools.cache` would let each of the first threads create one: two pools, two publisher threads.
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]
