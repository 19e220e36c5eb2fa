"""What keys and people are called, for pages that know their ids."""

from collections.abc import Collection

from sqlalchemy import select

from domain import ids
from models.keys import api_keys
from models.people import users
from services.transaction import Store


def names_of(store: Store, wanted: Collection[str]) -> dict[str, str]:
    """By id. What is neither a key nor a person, or not there any more, is called by its id."""
    found = dict.fromkeys(wanted, "")
    with store.reading() as conn:
        for kind, table in ((ids.KEY, api_keys), (ids.USER, users)):
            known = {parsed: text for text in found if (parsed := ids.parse(kind, text)) is not None}
            if known:
                rows = conn.execute(select(table.c.id, table.c.name).where(table.c.id.in_(known)))
                found |= {known[row.id]: row.name for row in rows}
    return {id_: name or id_ for id_, name in found.items()}
