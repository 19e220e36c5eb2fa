"""Hidden characters are found anywhere, and the characters that a script or an emoji needs are left alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values.confusables import escaped, hidden, hides, marked

# Nothing of these belongs between two Latin letters.
HIDING = [
    *"\x00\x07\x08\x0b\x0c\r\x1b\x7f\x85\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u2800\u3164\ufeff\uffa0\ufff9",
    *map(chr, range(0x180B, 0x1810)),
    *map(chr, range(0x200B, 0x2010)),
    *map(chr, range(0x2028, 0x2030)),
    *map(chr, range(0x2060, 0x2070)),
    *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0xE0000, 0xE1000, 7)),
    *map(chr, range(0xE0100, 0xE01F0)),
    *"\ue000\U000f0000\U0001d159\U0001d173\U0001bca0\U00013430",
]


@pytest.mark.parametrize(
    "around", [("a", "b"), ("", ""), ("1", "a"), ("葛", "城"), ("a", "🙂"), (" ", " "), ("é", "é")]
)
def test_what_hides_is_found(around: tuple[str, str]) -> None:
    before, after = around
    for char in HIDING:
        assert list(hidden(f"{before}{char}{after}")) == [len(before)], f"U+{ord(char):04X}"
        assert hides(f"{before}{char}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "می‌خواهم کتاب‌ها را ببینم، برنامه‌ریزی، نمی‌دانم",  # Persian
        "کار‌ها",  # after a letter that does not join on
        "ه‍.ق",  # the form that a letter has at the beginning of a word
        "کتابِ\u200cها",
        "क्‍ष र्‍य क्‌ष श्री हिन्दी",  # Hindi
        "ක්‍ෂ ශ්‍රී",  # Sinhala
        "র‍্যাব",  # Bengali
        "ನನ್‌ನ",  # Kannada
        "👨‍👩‍👧‍👦 👩🏽‍🚀 🧑‍⚕️ ❤️‍🔥 🏳️‍🌈 🏴‍☠️ 👁️‍🗨️ ⛹🏿‍♀️ 🐻‍❄️ 🏃‍➡️",
        "☎️ ✈︎ ©️ ❤️ ℹ️ ▶️",
        "1️⃣ #️⃣ *️⃣",
        "🇩🇪🇮🇷 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🏴󠁧󠁢󠁷󠁬󠁳󠁿",
        "ᠬᠡᠯᠡ᠎ᠡ ᠮᠣᠩᠭᠣᠯ᠋",  # Mongolian
        "⠓⠑⠇⠇⠕⠀⠺⠕⠗⠇⠙",
        "1\u202f500\u202f€, vraiment\u202f?",
        "\u0600\u0661\u0662 \u06dd",
        "Größe 東京 한국어 עברית ไทย\ta\nb\u00a0c",
    ],
)
def test_what_a_script_is_written_with_is_left_alone(text: str) -> None:
    assert [f"{place}: U+{ord(text[place]):04X}" for place in hidden(text)] == []
    assert not hides(text)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a\u200cb", [1]),
        ("می\u200c\u200cخواهم", [2, 3]),
        ("خواهم\u200c b", [5]),
        ("🙂\u200d", [1]),
        ("🙂\u200da", [1]),
        ("a\u200d🙂", [1]),
        ("❤\ufe0f\ufe0f", [2]),
        ("1\ufe0f", [1]),
        ("🏴\U000e0068\U000e0069\U000e007f", [1, 2, 3]),
        ("🙂\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", [1, 2, 3, 4, 5, 6]),
        ("क\u200dक", [1]),
        ("葛\U000e0100", [1]),
        ("\u2800\u2800", [0, 1]),
    ],
)
def test_misused_characters_of_scripts_and_emoji_are_found(text: str, places: list[int]) -> None:
    assert list(hidden(text)) == places


@given(st.text(), st.sampled_from(HIDING))
def test_nothing_but_what_hides_is_changed(text: str, char: str) -> None:
    shown = list(marked(text + char, lambda found: f"<{ord(found):X}>"))
    assert "".join(shown[::2]) == "".join(
        c for place, c in enumerate(text + char) if place not in set(hidden(text + char))
    )
    value = {text: [char]}
    assert json.loads(escaped(json.dumps(value, ensure_ascii=False))) == value
