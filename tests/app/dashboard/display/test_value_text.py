"""How a value of an agent's is shown: nothing in it hides, and it is shown whole or says what is left out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashboard.display.highlighting import coloured
from app.dashboard.display.value_text import one_line, pretty, visible
from app.dashboard.display.value_tree import FEW, MAX_NODES, TEXT, WHOLE, WINDOW, Node, tree

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
    assert (node.size, node.left_out, node.missing) == (MAX_NODES + 100, 101, 101)
    assert (len(node.entries), node.unseen, node.total) == (FEW, MAX_NODES + 100 - FEW, MAX_NODES + 100)


def test_what_is_executed_is_shown_whole_up_to_a_generous_size() -> None:
    for value in ([f"DELETE FROM t{number};" for number in range(WHOLE)], {"a": {"b": ["x"] * 200, "sql": "\n" * 99}}):
        assert (tree(value).unseen, tree(value).folded) == (0, [])


def test_beyond_it_the_rest_is_folded_and_counted() -> None:
    node = tree({"rows": list(range(1_000)), "then": "DROP TABLE customers"})
    assert [name for name, _ in node.entries] == ["rows", "then"]
    rows = node.entries[0][1]
    assert (len(rows.entries), len(rows.folded), node.unseen, node.total) == (30, 970, 970, 1_001)
    assert tree({"rows": list(range(1_000))}, True).unseen == 0


def test_a_long_text_has_a_window() -> None:
    assert not tree("\n".join(["x"] * TEXT)).window
    for text in ("\n".join(["x"] * 400), "x" * 400 * 200):
        assert (tree(text).window, tree(text).unseen, tree(text).total) == (True, 400 - WINDOW, 400)
        assert not tree(text, True).window


@given(JSON, st.integers(1, 5))
def test_what_is_shown_and_what_is_not_is_all(value: object, whole: int) -> None:
    node = tree(value, False, whole)
    assert 0 <= node.unseen < node.total
    assert node.total == tree(value, True).total


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("DROP TABLE x;", '<span class="grave">DROP</span> <span class="word">TABLE</span> x;'),
        (
            "-- why\nselect 'it''s', 1 from t",
            '<span class="comment">-- why</span>\n<span class="word">select</span> '
            '<span class="text">&#39;it&#39;&#39;s&#39;</span>, <span class="number">1</span> '
            '<span class="word">from</span> t',
        ),
        ("--- a\n+++ b\n", '<span class="about">--- a\n</span><span class="about">+++ b\n</span>'),
        (
            "@@ -1 +1 @@\n-<b>\n+c\n d",
            '<span class="hunk">@@ -1 +1 @@\n</span><span class="removed">-&lt;b&gt;\n</span>'
            '<span class="added">+c\n</span> d',
        ),
        (
            '{"a": [1, "b", null]}',
            '{<span class="name">&#34;a&#34;</span>: [<span class="number">1</span>, '
            '<span class="text">&#34;b&#34;</span>, <span class="word">null</span>]}',
        ),
        ("Update the customer", "Update the customer"),
        ("- one\n- two", "- one\n- two"),
    ],
)
def test_diffs_sql_and_json_are_coloured(text: str, shown: str) -> None:
    assert coloured(text) == shown


@given(st.text() | st.text(alphabet="-/*'\"{}[]: \nSELECT\\+@1"))
def test_colours_leave_the_text_as_it_is(text: str) -> None:
    for start in ("", "SELECT x; ", "@@ -1 +1 @@\n", "{"):
        assert coloured(start + text).striptags() == visible(start + text).striptags()


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
