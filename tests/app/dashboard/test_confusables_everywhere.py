"""One list of what hides, for the page, the terminal and messages."""

import json

import pytest

from app.dashboard.display.value_text import pretty, visible
from cli.views.output import clean, pretty_json
from domain.delivery import notification

HIDING = "\u3164\u2800\u115f\u180f\u200b\u202e\u2060\ufe0f\uffa0\u00ad\u034f\U000e0100\U000e0041\x1b"
BELONGING = ["می‌خواهم", "क्‍ष", "👨‍👩‍👧", "❤️", "1️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🇩🇪"]


@pytest.mark.parametrize("char", HIDING)
def test_what_hides_is_shown_everywhere(char: str) -> None:
    text, number = f"pay{char}ee", f"{ord(char):04X}"
    assert f">U+{number}</span>" in visible(text)
    assert clean(text) == f"pay{char.encode('unicode_escape').decode()}ee"
    assert notification.visible(text, 100) == f"pay<U+{number}>ee"
    for shown in (pretty({text: text}), pretty_json({text: text}).plain):
        assert char not in shown
        assert json.loads(shown) == {text: text}


@pytest.mark.parametrize("text", BELONGING)
def test_what_belongs_there_is_left_alone_everywhere(text: str) -> None:
    assert visible(text) == text
    assert clean(text) == text
    assert notification.visible(text, 100) == text
    assert json.loads(pretty(text)) == text
    assert text in pretty(text)


def test_the_terminal_shows_lines_where_they_are_wanted() -> None:
    assert clean("a\tb\nc") == "a\\tb\\nc"
    assert clean("a\tb\nc", lines=True) == "a\\tb\nc"
