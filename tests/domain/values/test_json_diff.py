"""The changes of an edit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values import canonical_json
from domain.values.json_diff import Change, ChangeKind, differences

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_change_is_found_exactly_when_the_digest_differs(old: object, new: object) -> None:
    assert bool(list(differences(old, new, "it"))) is (canonical_json.digest(old) != canonical_json.digest(new))


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({"a": 1}, {"a": 2}, [Change("it.a", ChangeKind.CHANGED, 1, 2)]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [Change("it.a", ChangeKind.CHANGED, 1, True)]),
        ({"a": "1"}, {"a": 1}, [Change("it.a", ChangeKind.CHANGED, "1", 1)]),
        ({"a": None}, {}, [Change("it.a", ChangeKind.REMOVED, old=None)]),
        ({}, {"a": None}, [Change("it.a", ChangeKind.ADDED, new=None)]),
        (
            {"a": [1, 2]},
            {"a": [1, 3, 4]},
            [Change("it.a[1]", ChangeKind.CHANGED, 2, 3), Change("it.a[2]", ChangeKind.ADDED, new=4)],
        ),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {}}}, [Change("it.a.b.c", ChangeKind.REMOVED, old=1)]),
        ({"a": {}}, {"a": []}, [Change("it.a", ChangeKind.CHANGED, {}, [])]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
    ],
)
def test_each_place_that_is_not_the_same(old: object, new: object, changes: list[Change]) -> None:
    assert list(differences(old, new, "it")) == changes


@pytest.mark.parametrize(
    ("old", "new", "types"),
    [
        ("01067", 1067, ("text", "number")),
        (3, "3", ("number", "text")),
        (1, True, ("number", "boolean")),
        (None, "", ("null", "text")),
        ([1], {"0": 1}, ("list", "object")),
        (1, 1.5, None),
        ("a", "b", None),
    ],
)
def test_a_change_of_type_is_named(old: object, new: object, types: tuple[str, str] | None) -> None:
    (change,) = differences({"a": old}, {"a": new}, "it")
    assert change.retyped == types


def test_what_is_added_or_removed_has_no_other_type() -> None:
    assert [change.retyped for change in differences({"a": None}, {"b": 1}, "it")] == [None, None]
