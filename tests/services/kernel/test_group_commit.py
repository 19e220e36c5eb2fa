"""Callers that share a transaction: each gets its own outcome, and no caller fails for another."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.group_commit import LIMIT, Aside, GroupCommit
from tests.services.world import at_once


class Ledger:
    """Double numbers and record the batches. The first transaction waits until the test lets it continue.

    `opened` is called when a transaction is open, before the requests are fetched.
    """

    def __init__(self, opened: Callable[[], object] = lambda: None) -> None:
        self.opened = opened
        self.batches: list[list[int]] = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.stuck, self.let_go = threading.Event(), threading.Event()

    def carry_out(self, asked: Callable[[], Sequence[int]]) -> list[int | Exception]:
        self.opened()
        wanted = asked()
        self.batches.append(list(wanted))
        self.entered.set()
        assert self.go_on.wait(90)
        if -1 in wanted and len(wanted) > 1:
            raise ValueError("the batch is spoiled")
        if -2 in wanted:
            raise DatabaseUnavailable("in the commit")
        if -3 in wanted and len(wanted) > 1:
            raise DatabaseUnavailable("a lock was held", "55P03")
        if -4 in wanted and len(wanted) == 1:
            self.stuck.set()
            assert self.let_go.wait(90)
        if -4 in wanted:
            return [Aside() if number == -4 and len(wanted) > 1 else number * 2 for number in wanted]
        return [KeyError(number) if number < 0 else number * 2 for number in wanted]


def gathered(ledger: Ledger, numbers: Sequence[int]) -> list[int | Exception]:
    """All but the first have come while the first is being carried out."""
    group_commit = GroupCommit(ledger.carry_out)
    first = threading.Thread(target=group_commit.do, args=(0,))
    first.start()
    assert ledger.entered.wait(90)

    def release() -> int:
        while len(group_commit._waiting) < len(numbers):
            threading.Event().wait(0.001)
        ledger.go_on.set()
        return 0

    outcomes = at_once([*(lambda n=n: group_commit.do(n) for n in numbers), release])
    first.join(90)
    assert not first.is_alive()
    return outcomes[:-1]


def test_who_comes_meanwhile_is_carried_out_together() -> None:
    ledger = Ledger()
    assert gathered(ledger, range(1, 11)) == [number * 2 for number in range(1, 11)]
    assert [len(batch) for batch in ledger.batches] == [1, 10]


def test_a_batch_has_a_limit() -> None:
    """And the rest comes next, led by one of them."""
    ledger = Ledger()
    assert gathered(ledger, range(LIMIT + 3)) == [number * 2 for number in range(LIMIT + 3)]
    assert [len(batch) for batch in ledger.batches] == [1, LIMIT, 3]


def test_alone_nobody_waits() -> None:
    ledger = Ledger()
    ledger.go_on.set()
    group_commit = GroupCommit(ledger.carry_out)
    assert [group_commit.do(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert ledger.batches == [[1], [2], [3]]


def test_who_comes_while_the_transaction_is_opened_is_in_it() -> None:
    opening, opened = threading.Event(), threading.Event()

    def open_slowly() -> None:
        opening.set()
        assert opened.wait(90)

    ledger = Ledger(open_slowly)
    ledger.go_on.set()
    group_commit = GroupCommit(ledger.carry_out)

    def release() -> int:
        assert opening.wait(90)
        while len(group_commit._waiting) < 3:
            threading.Event().wait(0.001)
        opened.set()
        return 0

    assert at_once([*(lambda n=n: group_commit.do(n) for n in (1, 2, 3)), release]) == [2, 4, 6, 0]
    assert [sorted(batch) for batch in ledger.batches] == [[1, 2, 3]]


@pytest.mark.parametrize("error", [DatabaseUnavailable("no connection"), OSError("no socket")])
def test_every_waiting_caller_gets_the_error_of_a_failed_transaction(error: Exception) -> None:
    """Once for all, where the database is away: each trying in turn would wait for it in turn."""
    ledger = Ledger(lambda: at_first.pop(0)() if at_first else fail())
    at_first: list[Callable[[], object]] = [lambda: None]
    opened = 0

    def fail() -> None:
        nonlocal opened
        opened += 1
        raise error

    assert gathered(ledger, [1, 2, 3]) == [error] * 3
    assert opened == (1 if isinstance(error, DatabaseUnavailable) else 4)
    assert ledger.batches == [[0]]


def test_a_domain_error_reaches_only_its_own_caller() -> None:
    outcomes = gathered(Ledger(), [1, -5, 3])
    assert outcomes[0] == 2
    assert isinstance(outcomes[1], KeyError)
    assert outcomes[2] == 6


def test_a_spoiled_batch_is_tried_one_by_one() -> None:
    outcomes = gathered(Ledger(), [1, -1, 3])
    assert outcomes[0] == 2
    assert isinstance(outcomes[1], KeyError)
    assert outcomes[2] == 6


def test_what_may_have_been_done_is_not_tried_again() -> None:
    """A commit of unknown outcome concerns all callers, and is not repeated."""
    ledger = Ledger()
    outcomes = gathered(ledger, [1, -2, 3])
    assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
    assert len(ledger.batches) == 2


def test_it_goes_on_after_a_failure() -> None:
    ledger = Ledger()
    ledger.go_on.set()
    group_commit = GroupCommit(ledger.carry_out)
    with pytest.raises(DatabaseUnavailable):
        group_commit.do(-2)
    assert group_commit.do(4) == 8


def test_a_lock_that_one_of_them_waits_for_is_nobody_elses() -> None:
    """Nothing of the batch was done: each tries alone."""
    outcomes = gathered(Ledger(), [1, -3, 3])
    assert (outcomes[0], outcomes[2]) == (2, 6)
    assert isinstance(outcomes[1], KeyError)


def test_who_is_put_aside_waits_alone() -> None:
    """The others of the batch have their outcomes, and the next batches go on meanwhile."""
    ledger = Ledger()
    group_commit = GroupCommit(ledger.carry_out)
    first = threading.Thread(target=group_commit.do, args=(0,))
    first.start()
    assert ledger.entered.wait(90)
    with ThreadPoolExecutor(2) as pool:
        waits, other = pool.submit(group_commit.do, -4), pool.submit(group_commit.do, 1)
        while len(group_commit._waiting) < 2:
            threading.Event().wait(0.001)
        ledger.go_on.set()
        assert other.result(90) == 2
        assert ledger.stuck.wait(90)
        assert group_commit.do(5) == 10
        assert not waits.done()
        ledger.let_go.set()
        assert waits.result(90) == -8
    first.join(90)
