"""One thing that was looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`good`: None for what could not be looked at and need not be wrong. `said`: what it is, and what to do."""

    name: str
    good: bool | None
    said: str
