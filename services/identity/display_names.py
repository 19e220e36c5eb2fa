"""The display names of API keys and people, by id."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from domain.values import ids
from models.keys import api_keys
from models.people import users
from services.kernel.unit_of_work import Database


def names_of(database: Database, wanted: Collection[str]) -> dict[str, str]:
    """Return names by id. An unknown or deleted key or person is named by its id."""
    with database.reading() as conn:
        return names_in(conn, wanted)


def names_in(conn: Connection, wanted: Collection[str]) -> dict[str, str]:
    """Return names as `names_of` does, within a transaction."""
    found = {id_: id_ for id_ in wanted}
    for kind, table in ((ids.KEY, api_keys), (ids.USER, users)):
        known = {parsed: text for text in found if (parsed := ids.parse(kind, text)) is not None}
        if known:
            rows = conn.execute(select(table.c.id, table.c.name).where(table.c.id.in_(known)))
            found |= {known[row.id]: row.name for row in rows}
    return found
