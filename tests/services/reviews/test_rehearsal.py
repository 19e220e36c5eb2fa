"""The rehearsal of a held step: it leaves nothing, and a real step after it compiles no statement."""

from typing import Any

from sqlalchemy import event, func, select
from sqlalchemy.engine.interfaces import CacheStats

from models.tables import metadata
from services.kernel.connection_pool import open_engine
from services.kernel.unit_of_work import Database, NoPublisher
from services.reviews.rehearsal import rehearse
from services.reviews.step_decisions import decide_step
from tests.services.saga_world import current_ref, start, statuses, step, tools, work
from tests.services.world import REVIEWER, approve


def test_nothing_is_left(database: Database) -> None:
    rehearse(database)
    with database.reading() as conn:
        for table in metadata.sorted_tables:
            assert conn.execute(select(func.count()).select_from(table)).scalar_one() == 0, table.name


def test_a_held_step_compiles_nothing(database: Database) -> None:
    engine = open_engine(database.engine.url.render_as_string(False), 1, "test")
    compiled: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_: Any, __: Any, statement: str, ___: Any, context: Any, ____: Any) -> None:
        if context.cache_hit is CacheStats.CACHE_MISS:
            compiled.append(statement)

    starting = Database(engine, NoPublisher(), "http://sagahold.test")
    rehearse(starting)
    assert compiled
    compiled.clear()
    trace_id = start(starting, step("a", hitl=True))
    work(starting, trace_id, tools())
    decide_step(starting, REVIEWER, current_ref(database, trace_id), approve())
    work(starting, trace_id, tools())
    assert (compiled, statuses(database, trace_id)) == ([], ("COMPLETED", "COMPLETED"))
    engine.dispose()
