"""The columns of a call's state, as this release and an earlier one write them while both run."""

from itertools import product
from uuid import UUID

import pytest

from domain.sagas.call_state import CallState
from domain.sagas.outcome import NotSent
from domain.sagas.step import Error
from services.kernel.unit_of_work import Database
from services.sagas.recovery import Retry, retry_step
from tests.services.saga_turns import advance, record
from tests.services.saga_world import claimed, current_ref, die, saga_of, start, step
from tests.services.world import OPERATOR, change, rows

C = CallState
AWAY = NotSent(Error("MCP_UNAVAILABLE", "connection refused"))
# Every combination that either release writes: whether the last call began, whether an earlier one is open, and
# whether an operator wants a repeat.
READ = {
    (False, False, False): C.CLOSED,
    (True, False, False): C.OPEN,
    (True, True, False): C.OPEN_TWICE,
    (False, True, False): C.OPEN_BEFORE,
    (False, False, True): C.RETRY,
    (True, False, True): C.REPEAT,
    (False, True, True): C.REPEAT,
    (True, True, True): C.REPEAT,
}


def columns(database: Database, trace_id: UUID) -> tuple[bool, bool, bool]:
    (found,) = rows(database, "SELECT call_began, unsure, may_repeat FROM saga_steps WHERE saga_id = :id", id=trace_id)
    return found["call_began"], found["unsure"], found["may_repeat"]


def write(database: Database, trace_id: UUID, *flags: bool) -> None:
    statement = "UPDATE saga_steps SET call_began = :began, unsure = :unsure, may_repeat = :repeat WHERE saga_id = :id"
    change(database, statement, id=trace_id, **dict(zip(("began", "unsure", "repeat"), flags, strict=True)))


def call_of(database: Database, trace_id: UUID) -> CallState:
    return saga_of(database, trace_id).steps[0].call


@pytest.fixture
def broken_off(database: Database) -> UUID:
    """A saga whose worker died during its call."""
    trace_id = start(database, step("a", undo=True))
    claimed(database, trace_id)
    die(database, trace_id)
    return trace_id


@pytest.mark.parametrize("flags", list(product([False, True], repeat=3)))
def test_every_combination_is_read(flags: tuple[bool, bool, bool], database: Database, broken_off: UUID) -> None:
    write(database, broken_off, *flags)
    assert call_of(database, broken_off) is READ[flags]


@pytest.mark.parametrize("flags", [flags for flags, call in READ.items() if call is C.REPEAT])
def test_a_repeat_of_an_earlier_release(flags: tuple[bool, bool, bool], database: Database, broken_off: UUID) -> None:
    """All three columns change with the state, so that the row does not keep a part of the other release's."""
    write(database, broken_off, *flags)
    call = advance(database, broken_off)
    assert call is not None, "it is not repeated"
    assert (columns(database, broken_off), call_of(database, broken_off)) == ((True, True, False), C.OPEN_TWICE)


def test_what_an_operator_wanted_of_an_earlier_release_ends_with_the_step(database: Database, broken_off: UUID) -> None:
    """That release leaves the column set where the step ended without a repeat."""
    write(database, broken_off, True, False, True)
    change(
        database,
        "UPDATE saga_steps SET status = 'TIMED_OUT', ended_at = now() WHERE saga_id = :id",
        id=broken_off,
    )
    assert call_of(database, broken_off) is C.OPEN


def test_what_this_release_writes(database: Database) -> None:
    """Sent, requeued, repeated, not sent, and requeued again."""
    trace_id = start(database, step("a", undo=True))
    claimed(database, trace_id)
    assert columns(database, trace_id) == (True, False, False)
    wanted = Retry(force=True, allow_destructive=True)
    retry_step(database, OPERATOR, current_ref(database, trace_id), wanted)
    assert columns(database, trace_id) == (True, True, True)
    call = claimed(database, trace_id)
    assert columns(database, trace_id) == (True, True, False)
    record(database, call, AWAY, {}, 0.5)
    assert columns(database, trace_id) == (False, True, False)
    retry_step(database, OPERATOR, current_ref(database, trace_id), wanted)
    assert columns(database, trace_id) == (True, True, True)
