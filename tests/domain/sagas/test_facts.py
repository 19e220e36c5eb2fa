"""Facts: out of what a tool answered, or not at all."""

from typing import Any

import pytest

from domain.manifests.definition import Fact
from domain.sagas.facts import FactMissing, take

ANSWER = {"items": [{"id": 7}, {"id": 8}], "none": None}


def test_taken() -> None:
    facts = (
        Fact("first", "search", "$.items[0].id"),
        Fact("all", "search", "$.items[*].id"),
        Fact("no", "search", "$.items[?@.id > 9]"),
        Fact("none", "search", "$.none"),
        Fact("whole", "read", "$"),
    )
    answers = {"search": ANSWER, "read": '{"a": 1}'}
    assert take(facts, answers) == {"first": 7, "all": [7, 8], "no": [], "none": None, "whole": '{"a": 1}'}
    assert take((), {}) == {}


def test_a_group_of_a_tool_that_was_not_called_is_left_out() -> None:
    facts = (Fact("total", "search", "$.items[1].id", "found"), Fact("n", "read", "$.n", "red"))
    assert take(facts, {"search": ANSWER}) == {"found": {"total": 8}}
    with pytest.raises(FactMissing):
        take(facts, {"search": {}})


@pytest.mark.parametrize(
    ("path", "answers", "part"),
    [
        ("$.items[0].id", {}, "made no successful call of search"),
        ("$.items[2].id", {"search": ANSWER}, "nothing at $.items[2].id"),
        ("$.id", {"search": [1]}, "nothing at"),
        ("$.a", {"search": '{"a": 1}'}, "nothing at"),
        ("$.a", {"search": 5}, "nothing at"),
        ("$.a", {"search": {"a": float("nan")}}, "cannot hold"),
        ("$", {"search": ["x" * 300_000]}, "larger than 256 KiB"),
    ],
)
def test_missing(path: str, answers: dict[str, Any], part: str) -> None:
    with pytest.raises(FactMissing, match="fact") as caught:
        take((Fact("a-fact", "search", path),), answers)
    assert part in str(caught.value)


def test_an_answer_without_a_bottom() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = {"a": deep}
    with pytest.raises(FactMissing):
        take((Fact("x", "search", "$..b"),), {"search": deep})
