"""A worker that lost its lease while a model thought: reading does no harm, and nothing else is called any more."""

from collections.abc import Callable

import pytest

from domain.sagas.outcome import Done, Lost, NotSent, Outcome
from tests.adapters.llm.wire import Call, Reply, submit
from tests.adapters.llm.world import Desk

LOOK = Call([("look", {"customer": "ada"})])
WRITE = Call([("write", {"text": "a"})])
ACTED = [LOOK, WRITE, WRITE, submit({"n": 1})]


@pytest.mark.parametrize(
    ("turns", "ours", "kind", "called"),
    [
        ([LOOK, submit({"n": 1})], 0, Done, ["look"]),
        (ACTED, 0, NotSent, ["look"]),
        (ACTED, 1, Lost, ["look", "write"]),
    ],
)
def test_only_what_reads_is_called(
    turns: list[Reply], ours: int, kind: type[Outcome], called: list[str], desk_for: Callable[..., Desk]
) -> None:
    """`ours`: how often the question is still the worker's own when it is about to act."""
    desk = desk_for(*turns)
    left = iter([True] * ours)
    result = desk.react("local", "look", "write", ours=lambda: next(left, False))
    assert isinstance(result.outcome, kind), result.outcome
    assert [line.split()[0] for line in desk.tools.called()] == called
    assert result.report.acted is ("write" in called)
