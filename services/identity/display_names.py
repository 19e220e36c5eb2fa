"""What keys and people are called, for whoever knows their ids."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from domain.values import ids
from models.keys import api_keys
from models.people import users
from services.kernel.unit_of_work import Database


def names_of(database: Database, wanted: Collection[str]) -> dict[str, str]:
    """By id. What is neither a key nor a person, or not there any more, is called by its id."""
    with database.reading() as conn:
        return names_in(conn, wanted)


def names_in(conn: Connection, wanted: Collection[str]) -> dict[str, str]:
    """The same, within somebody's transaction."""
    found = {id_: id_ for id_ in wanted}
    for kind, table in ((ids.KEY, api_keys), (ids.USER, users)):
        known = {parsed: text for text in found if (parsed := ids.parse(kind, text)) is not None}
        if known:
            rows = conn.execute(select(table.c.id, table.c.name).where(table.c.id.in_(known)))
            found |= {known[row.id]: row.name for row in rows}
    return found
