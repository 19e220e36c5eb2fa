"""Doors in words."""

from collections.abc import Mapping

from app.dashboard.framework.page_decorator import dashboard
from domain.pauses.door import TITLES, title_of

dashboard.add_app_template_filter(title_of, "door_title")


def door_choices(chosen: str | None) -> Mapping[str, str]:
    """Return the choices of the filter: our doors, and the chosen one if it is another."""
    return TITLES if chosen is None or chosen in TITLES else {**TITLES, chosen: chosen}
