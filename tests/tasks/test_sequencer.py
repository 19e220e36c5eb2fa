"""The thread that links entries of the audit log, whatever a look before ended with."""

from collections.abc import Iterator

import pytest

from services.kernel.unit_of_work import Database
from services.log.sequencer import link_entries
from tasks import sequencer
from tasks.sequencer import SequencerThread
from tests.faults.scene import until
from tests.services.world import ADMIN, change, one


@pytest.fixture
def thread(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[SequencerThread]:
    monkeypatch.setattr(sequencer, "EVERY_SECONDS", 0.01)
    running = SequencerThread(database)
    yield running
    running.stopped.set()
    running.join()


def write(database: Database, *namespaces: str) -> None:
    for namespace in namespaces:
        with database.transaction() as uow:
            uow.record(ADMIN, namespace, "thing.changed", "thing_1")


def until_unlinked(database: Database, expected: int) -> None:
    until(f"{expected} unlinked", lambda: one(database, "SELECT count(*) FROM audit_unlinked") == expected)


def test_entries_are_linked_after_a_look_that_failed(
    database: Database, thread: SequencerThread, caplog: pytest.LogCaptureFixture
) -> None:
    """A head that was set back stops its own chain until it is mended. The log has one line about it."""
    write(database, "shop")
    until_unlinked(database, 0)
    change(database, "UPDATE audit_heads SET seq = 0")
    write(database, "shop", "bank")
    until_unlinked(database, 1)
    until("said in the log", lambda: "entries of the audit log could not be linked" in caplog.text)
    write(database, "shop", "bank")
    until_unlinked(database, 2)
    change(database, "UPDATE audit_heads SET seq = 1 WHERE namespace = 'shop'")
    until_unlinked(database, 0)
    assert thread.is_alive()
    assert caplog.text.count("entries of the audit log could not be linked") == 1
    assert link_entries(database) == 0
    assert one(database, "SELECT count(*) FROM audit_events") == 5
