"""A worker's name: who bears it, and whose leases it may end."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.kernel.connection_pool import DatabaseUnavailable
from tasks.worker_name import WorkerName
from tests.faults.scene import until


def freed(name: WorkerName) -> list[bytes]:
    """Wait until the worker has released leases, and return their prefixes."""
    found: list[bytes] = []
    done = threading.Event()

    def free(holders: Sequence[bytes]) -> int:
        found.extend(holders)
        done.set()
        return len(holders)

    name.free_earlier(free)
    assert not name.earlier or done.wait(90)
    return found


def test_a_successor_knows_its_predecessor(tmp_path: Path) -> None:
    first = WorkerName("worker@here", tmp_path / "names")
    nothing = freed(first)
    first.close()
    second = WorkerName("worker@here", tmp_path / "names")
    assert second.mine != first.mine
    assert freed(second) == [first.mine]
    until("it is written down", lambda: second.mine == next((tmp_path / "names").iterdir()).read_bytes())
    second.close()
    third = WorkerName("worker@here", tmp_path / "names")
    assert third.earlier == [second.mine]
    third.close()
    assert nothing == []


def test_nobody_knows_who_lives(tmp_path: Path) -> None:
    """The second of two running workers with one name takes nothing from the first, nor hides it from a third."""
    first = WorkerName("worker@here", tmp_path)
    second = WorkerName("worker@here", tmp_path)
    assert not second.earlier
    assert second.mine != first.mine
    first.close()
    third = WorkerName("worker@here", tmp_path)
    assert third.earlier == [first.mine]
    second.close()
    third.close()


def test_names_are_apart(tmp_path: Path) -> None:
    """Another name, another installation, another container."""
    WorkerName("worker@here", tmp_path).close()
    assert not WorkerName("worker-2@here", tmp_path).earlier
    assert not WorkerName("worker@here", tmp_path / "container").earlier


def test_a_predecessor_waits_for_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that dies before it could free its own predecessor leaves both to the next."""
    monkeypatch.setattr("tasks.worker_name.RETRY_SECONDS", 0.01)
    first = WorkerName("worker@here", tmp_path)
    first.close()
    second = WorkerName("worker@here", tmp_path)
    second.close()
    third = WorkerName("worker@here", tmp_path)
    asked: list[Sequence[bytes]] = []
    done = threading.Event()

    def free(holders: Sequence[bytes]) -> int:
        asked.append(holders)
        if len(asked) < 3:
            raise DatabaseUnavailable("it starts")
        done.set()
        return 0

    third.free_earlier(free)
    assert done.wait(90)
    assert asked == [[first.mine, second.mine]] * 3
    until("it is written down", lambda: third.mine == next(tmp_path.iterdir()).read_bytes())
    third.close()


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path: Path) -> None:
    """A user who can write there could make this worker release other workers' leases."""
    tmp_path.chmod(0o777)
    WorkerName("worker@here", tmp_path).close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link").symlink_to("/tmp")
    WorkerName("worker@here", tmp_path / "link").close()
