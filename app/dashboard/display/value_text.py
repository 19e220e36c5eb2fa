"""How a value of an agent's or a model's is shown: whole, with its types, and with nothing in it that cannot be seen.

Whoever writes such a value may want the reviewer to read something else than what runs: a character that turns the
order of letters around, or that has no width, is shown by its number.
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

# In JSON; the last one may be cut off.
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"?')


@dashboard.app_template_filter("visible")
def visible(text: object) -> Markup:
    """The text as HTML: what a browser would not show, or obey, stands there by its number."""
    return Markup("").join(marked(str(text), _mark))


def _mark(char: str) -> Markup:
    name = unicodedata.name(char, "a character that is not seen")
    return Markup('<span class="unseen" title="{}">U+{}</span>').format(name.lower(), f"{ord(char):04X}")


@dashboard.app_template_filter("one_line")
def one_line(text: str) -> Markup:
    """JSON in one line, maybe cut off. Each of its texts has a direction of its own: behind letters that are read from
    the right, the numbers that follow would be shown in the other order."""
    if text.isascii():
        return visible(text)
    shown, end = Markup(""), 0
    for found in _TEXT.finditer(text):
        shown += visible(text[end : found.start()]) + Markup("<bdi>{}</bdi>").format(visible(found[0]))
        end = found.end()
    return shown + visible(text[end:])


@dashboard.app_template_filter("pretty")
def pretty(value: Any) -> str:
    """Indented JSON, whole. What is not seen is escaped, as JSON may: it reads back as the same value."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=2))


@dashboard.app_template_filter("passages")
def changed_places(change: Change) -> Differences:
    return places(change.old, change.new)
