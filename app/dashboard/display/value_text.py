"""The display of values from agents and models, with invisible characters made visible.

An attacker may want the reviewer to read something else than what runs. A character that reverses the order of letters
or has no width is therefore shown by its number.
"""

import json
import re
import unicodedata
from typing import Any

from markupsafe import Markup

from app.dashboard.framework.page_decorator import dashboard
from domain.values.confusables import escaped, marked
from domain.values.json_diff import Change
from domain.values.text_diff import Differences, places

# A string in JSON; the last one may be cut off.
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"?')


@dashboard.app_template_filter("visible")
def visible(text: object) -> Markup:
    """Return the text as HTML, with invisible and control characters shown by their numbers."""
    return Markup("").join(marked(str(text), _mark))


def _mark(char: str) -> Markup:
    name = unicodedata.name(char, "an invisible character")
    return Markup('<span class="unseen" title="{}">U+{}</span>').format(name.lower(), f"{ord(char):04X}")


@dashboard.app_template_filter("one_line")
def one_line(text: str) -> Markup:
    """Return JSON in one line, which may be cut off, as HTML.

    Each string has its own text direction. Otherwise right-to-left letters would reverse the numbers behind them.
    """
    if text.isascii():
        return visible(text)
    shown, end = Markup(""), 0
    for found in _TEXT.finditer(text):
        shown += visible(text[end : found.start()]) + Markup("<bdi>{}</bdi>").format(visible(found[0]))
        end = found.end()
    return shown + visible(text[end:])


@dashboard.app_template_filter("pretty")
def pretty(value: Any) -> str:
    """Return the value as indented JSON with invisible characters escaped; it parses back to the same value."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=2))


@dashboard.app_template_filter("passages")
def changed_places(change: Change) -> Differences:
    return places(change.old, change.new)
