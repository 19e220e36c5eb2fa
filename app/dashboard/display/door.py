"""The door of a pause, in words."""

from collections.abc import Mapping

from domain.pauses.door import TITLES


def door_choices(chosen: str | None) -> Mapping[str, str]:
    """Return the choices of the filter: our doors, and the chosen one if it is another."""
    return TITLES if chosen is None or chosen in TITLES else {**TITLES, chosen: chosen}
