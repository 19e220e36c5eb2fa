"""Differences of two long texts: no place is missed, and each is shown with the text around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values.text_diff import (
    CONTEXT,
    LINES,
    MAX_LINES,
    MAX_PASSAGES,
    SHORT,
    WORD,
    ChangedPassage,
    Differences,
    Surroundings,
    passages,
    places,
)

TEXTS = st.text(st.sampled_from("ab \n"), max_size=60)


@given(TEXTS, TEXTS)
def test_each_passage_is_a_piece_of_its_text_and_equal_texts_have_none(old: str, new: str) -> None:
    found = list(passages(old, new))
    assert (found == []) == (old == new)
    for passage in found:
        assert passage.old.text != passage.new.text
        for text, side in ((old, passage.old), (new, passage.new)):
            assert side.before + side.text + side.after in text
            assert len(side.before) <= CONTEXT
            assert len(side.after) <= CONTEXT


@given(st.text("ab ", max_size=60), st.text("ab ", max_size=60))
def test_all_of_a_line_that_is_short_enough(old: str, new: str) -> None:
    for passage in passages(old, new):
        for text, side in ((old, passage.old), (new, passage.new)):
            assert side.before + side.text + side.after == text
            assert not side.leads
            assert not side.trails


def test_every_place_with_its_line() -> None:
    lines = [f"line {place}" for place in range(100)]
    changed = list(lines)
    changed[3], changed[96] = "line three", "line 96, again"
    found = list(passages("\n".join(lines), "\n".join(changed)))
    assert [(each.line, each.old.text, each.new.text) for each in found] == [(4, "3", "three"), (97, "96", "96, again")]
    assert found[0].old.before == "line 0\nline 1\nline 2\nline "
    assert not found[0].old.leads
    assert found[0].old.trails


@pytest.mark.parametrize(
    ("old", "new", "passage"),
    [
        ("pay 100 now", "pay 900 now", ("pay ", "100", "900", " now")),
        ("go now", "go right now", ("go ", "now", "right now", "")),
        ("", "new", ("", "", "new", "")),
    ],
)
def test_a_word_is_shown_whole(old: str, new: str, passage: tuple[str, ...]) -> None:
    before, was, becomes, after = passage
    sides = (Surroundings(before, text, after, leads=False, trails=False) for text in (was, becomes))
    assert list(passages(old, new)) == [ChangedPassage(1, *sides)]


def test_a_text_without_blanks_and_one_of_too_many_lines() -> None:
    long = "x" * 10 * WORD
    (passage,) = passages(f"{long}a{long}", f"{long}b{long}")
    assert (passage.old.text, passage.new.text, passage.old.before) == ("a", "b", "x" * CONTEXT)
    (passage,) = passages("same\n" + "a\n" * (MAX_LINES + 1) + "end", "same\n" + "b\n" * (MAX_LINES + 1) + "end")
    assert (passage.line, passage.old.before, passage.old.after) == (2, "same\n", "\nend")


@pytest.mark.parametrize(
    ("old", "new"),
    [("a" * SHORT, "b" * SHORT), ("a\n" * (LINES - 1), "b"), (1, "x" * (SHORT + 1)), ("x" * (SHORT + 1), None)],
)
def test_short_texts_and_other_values_are_shown_side_by_side(old: object, new: object) -> None:
    assert places(old, new) == Differences()


@pytest.mark.parametrize("old", ["a" * (SHORT + 1), "a\n" * LINES])
def test_a_long_text_shows_its_changes(old: str) -> None:
    assert places(old, f"{old}b") == Differences(tuple(passages(old, f"{old}b")))
    assert places(f"{old}b", old).shown[0].old.text.endswith("b")


def test_no_more_than_some_passages_are_shown() -> None:
    old = [f"line {number}" for number in range(2 * MAX_PASSAGES + 6)]
    new = [line if number % 2 else f"{line}!" for number, line in enumerate(old)]
    found = places("\n".join(old), "\n".join(new))
    assert [passage.line for passage in found.shown] == list(range(1, 2 * MAX_PASSAGES, 2))
    assert found.left_out == 3
