"""Characters that are invisible or change how text is displayed: they can make an agent's text read differently.

Pages, terminals and messages share this list. Many of the characters belong to a script or an emoji, so the neighbours
decide (UTS 39, UTS 51, RFC 5892 appendix A).
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator

# Printable according to Python, but without a glyph: fillers, the Braille blank, variation selectors.
_SHAPELESS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U00016fe4\U0001d159"
    "\U000e0100-\U000e01ef]"
)
# Format characters that have a glyph: Arabic, Syriac and Kaithi signs that surround numbers.
_SIGNS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_ZWNJ, _ZWJ, _EMOJI_STYLE, _KEYCAP = "\u200c", "\u200d", "\ufe0f", "\u20e3"
# Scripts whose letters join: Arabic, Syriac, N'Ko, Mandaic and Mongolian.
_JOINING = re.compile(
    "[\u0620-\u064a\u066e-\u06d3\u06d5\u06fa-\u077f\u07ca-\u07ea\u0840-\u0858\u0860-\u08c9\u1820-\u18aa]"
)
_VIRAMA = 9
# Pictures and symbols that form emoji. The regional indicators of flags need no selector or joiner.
_PICTURE = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
)
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")
# The only flags that are written with tags: England, Scotland, Wales. Elsewhere a tag is invisible text.
_TAGGED = re.compile(
    "\U0001f3f4(?:{})\U000e007f".format(
        "|".join("".join(chr(0xE0000 + ord(char)) for char in place) for place in ("gbeng", "gbsct", "gbwls"))
    )
)
_MONGOLIAN = re.compile("[\u1820-\u18aa]")
_BRAILLE = re.compile("[\u2801-\u28ff]")


def hidden(text: str) -> Iterator[int]:
    """Yield the index of each invisible or acting character. Tabs and `\\n` are neither."""
    if text.isascii() and text.isprintable():
        return
    if text.replace("\n", "").replace("\t", "").isprintable() and not _SHAPELESS.search(text):
        return
    tagged = {place for found in _TAGGED.finditer(text) for place in range(*found.span())}
    for place, char in enumerate(text):
        if _suspicious(char) and place not in tagged and not _belongs(text, place):
            yield place


def hides(text: str) -> bool:
    return next(hidden(text), None) is not None


def marked(text: str, mark: Callable[[str], str]) -> Iterator[str]:
    """Yield the text in pieces, each hidden character replaced by what `mark` returns for it."""
    end = 0
    for place in hidden(text):
        yield text[end:place]
        yield mark(text[place])
        end = place + 1
    yield text[end:]


def escaped(text: str) -> str:
    """Escape the hidden characters of a JSON text, which still parses to the same value."""
    return "".join(marked(text, lambda char: json.dumps(char)[1:-1]))


def _suspicious(char: str) -> bool:
    """Return whether the character is control, format, private or unassigned, or a line end other than `\\n`.

    Format characters include text directions, zero widths and tags.
    """
    if char.isprintable():
        return _SHAPELESS.match(char) is not None
    return char == "\u202f" or (char not in "\n\t" and unicodedata.category(char) != "Zs" and char not in _SIGNS)


def _belongs(text: str, place: int) -> bool:
    """Return whether the neighbours need the character, so that its effect is visible."""
    char = text[place]
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    match char:
        case "\u200c" | "\u200d":
            return _joins(text, place)
        case "\ufe0f" | "\ufe0e":
            keycap = after == _KEYCAP and char == _EMOJI_STYLE and before in tuple("0123456789#*")
            return keycap or _PICTURE.match(before) is not None
        case "\u180b" | "\u180c" | "\u180d" | "\u180f":
            return _MONGOLIAN.match(before) is not None
        case "\u180e":
            return _MONGOLIAN.match(before) is not None and _MONGOLIAN.match(after) is not None
        case "\u2800":
            return _BRAILLE.match(before) is not None and _BRAILLE.match(after) is not None
        case "\u202f":
            # French and other languages write it in numbers and before closing punctuation.
            return (before.isdigit() and after.isdigit()) or after in tuple("!?:;»%€") or before == "«"
        case "\u115f":
            return "\u1161" <= after <= "\u11a7"
        case "\u1160":
            return "\u1100" <= before <= "\u115e" and "\u11a8" <= after <= "\u11ff"
    return False


def _joins(text: str, place: int) -> bool:
    """Return whether the script or the emoji at this index is written with this joiner or non-joiner."""
    base, next_ = _without_marks(text[max(0, place - 4) : place][::-1]), text[place + 1 : place + 2]
    before = text[place - 1 : place]
    if text[place] == _ZWJ and _is_picture(text, place) and _PICTURE.match(next_):
        return True
    if before and next_.isalpha() and unicodedata.combining(before) == _VIRAMA:
        return True
    # Bengali and Kannada write one form of ra this way.
    if before.isalpha() and next_ and unicodedata.combining(next_) == _VIRAMA:
        return True
    if not _JOINING.match(base):
        return False
    return _JOINING.match(next_) is not None or (text[place] == _ZWJ and not next_.isalpha())


def _is_picture(text: str, place: int) -> bool:
    """Return whether an emoji ends before this index."""
    before = text[place - 1 : place]
    if before == _EMOJI_STYLE or _SKIN.match(before):
        before = text[place - 2 : place - 1] if place > 1 else ""
    return _PICTURE.match(before) is not None


def _without_marks(chars: str) -> str:
    """Return the first character that is not a point or vowel sign over a letter."""
    return next((char for char in chars if unicodedata.category(char) != "Mn"), "")
