"""The short way of reading JSON lets nothing through that the long one refuses."""

import json
import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.http.json_body import _Reader
from domain.values import canonical_json

_texts = st.text(st.characters(exclude_categories=()), max_size=5)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=20,
)


@given(_values, st.booleans())
@example("\x00", True)
@example({"a\ud800": 1}, True)
@example(2**53, True)
@example(-(2**53), True)
@example(math.inf, True)
@example(json.loads("[" * 65 + "]" * 65), True)
def test_a_part_that_is_not_read_has_no_errors(value: Any, escaped: bool) -> None:
    """Whatever the value, and however it is written."""
    raw = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return  # refused before it is parsed
    reader = _Reader()
    try:
        read = reader.read(raw)
    except Exception:
        return
    assert reader.suspicious or not list(canonical_json.field_errors(read, ""))


def test_a_usual_body_is_read_the_short_way() -> None:
    reader = _Reader()
    reader.read(json.dumps({"action": "Deploy", "context": {"build": 4711, "share": 0.5, "who": ["é"]}}).encode())
    assert reader.suspicious is True  # é was written as an escape
    reader.read('{"action": "Deploy", "context": {"build": 4711, "share": 0.5, "who": ["é"]}}'.encode())
    assert reader.suspicious is False
