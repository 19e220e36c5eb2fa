"""The result of one check."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `good` is None if it could not run; `said` is the finding and the fix."""

    name: str
    good: bool | None
    said: str
