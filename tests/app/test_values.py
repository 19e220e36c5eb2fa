"""How a value of an agent's is shown: nothing in it hides, and it is shown whole or says what is left out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashboard.values import MAX_NODES, Node, one_line, pretty, tree, visible

HIDING = [
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u00ad",
    "\x00",
    "\x1b",
    "\r",
    "\u2028",
    "\U000e0041",
    "\u3164",
    "\ue000",
    "\u061c",
]


@pytest.mark.parametrize("char", HIDING)
def test_what_cannot_be_seen_is_shown_by_its_number(char: str) -> None:
    assert f">U+{ord(char):04X}</span>" in visible(f"a{char}b")
    assert char not in visible(f"a{char}b")


def test_html_is_text_and_lines_stay_lines() -> None:
    assert visible("<b>&'\"\n\tö 你 🙂\u202e").startswith("&lt;b&gt;&amp;&#39;&#34;\n\tö 你 🙂<span")


def test_a_text_in_a_line_of_json_turns_nothing_behind_it_around() -> None:
    shown = one_line('{"טווח": [100, 900], "a\\"\u202e": "<b>')
    assert shown == (
        "{<bdi>&#34;טווח&#34;</bdi>: [100, 900], <bdi>&#34;a\\&#34;"
        '<span class="unseen" title="right-to-left override">U+202E</span>&#34;</bdi>: <bdi>&#34;&lt;b&gt;</bdi>'
    )


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_a_line_of_json_is_shown_whole(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert one_line(text).replace("<bdi>", "").replace("</bdi>", "") == visible(text)


def test_no_character_that_turns_text_around_gets_through() -> None:
    """Whatever the tables of this Python call it."""
    for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        assert chr(code) not in visible(chr(code))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_the_json_is_the_value_and_nothing_in_it_hides(value: object) -> None:
    text = pretty(value)
    assert json.loads(text) == value
    assert "<span" not in visible(text).replace("&lt;span", "")


def test_a_tree_tells_how_much_it_leaves_out() -> None:
    node = tree({str(number): number for number in range(MAX_NODES + 100)})
    assert len(node.entries) + node.left_out == MAX_NODES + 100
    assert node.left_out > 100 - 2


def test_a_tree_ends_however_deep_the_value_is() -> None:
    value: object = "end"
    for _ in range(60):
        value = [value]
    node: Node = tree(value)
    depth = 0
    while node.entries:
        node, depth = node.entries[0][1], depth + 1
    assert node.left_out == 1
    assert depth < 20
