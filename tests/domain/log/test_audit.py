"""The audit log's rules: what an entry is hashed as, and whether rows are a whole chain."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.log.audit import EVERYWHERE, ORIGIN, AuditEntry, chain_of, digest, link, text
from domain.log.audit_chain import (
    OVERDUE,
    Bad,
    ChainEnd,
    ChainError,
    ChainHeads,
    ChainRow,
    Unlinked,
    export_line,
    read_line,
    verify,
)
from domain.values import canonical_json

NOW = datetime(2026, 3, 30, 21, 0, 0, 123456, UTC)
CHANGED, MISSING, INSERTED = ChainError.CHANGED, ChainError.MISSING, ChainError.INSERTED


def chain(length: int, namespace: str = "shop") -> list[ChainRow]:
    """Rows as the database makes them."""
    rows: list[ChainRow] = []
    for seq in range(1, length + 1):
        said = text(AuditEntry(namespace, "pause.approved", f"wch_{seq}", details={"é": "ü\u2028\n", "n": 1.5}), NOW)
        previous = rows[-1].hash if rows else ORIGIN
        rows.append(ChainRow(namespace, seq, link(previous, seq, said), previous, said))
    return rows


def heads(*chains: list[ChainRow]) -> ChainHeads:
    return ChainHeads({rows[-1].namespace: ChainEnd(rows[-1].seq, rows[-1].hash) for rows in chains})


def rehashed(row: ChainRow) -> ChainRow:
    return replace(row, hash=link(row.previous, row.seq, row.text))


def lied(row: ChainRow) -> ChainRow:
    return replace(row, text=row.text.replace("approved", "rejected"))


def test_an_entry_is_sorted_compact_json() -> None:
    entry = AuditEntry("shop", "key.created", "key_1", by="usr_1", by_name="Zoë", where="::1", after="ab")
    assert text(entry, NOW) == (
        '{"after":"ab","at":"2026-03-30T21:00:00.123Z","before":null,"by":"usr_1","by_name":"Zoë","details":null,'
        '"namespace":"shop","subject":"key_1","type":"key.created","where":"::1"}'
    )


def test_a_link_is_computed_as_the_documentation_says() -> None:
    assert link(ORIGIN, 1, "é") == hashlib.sha256(b"\0" * 32 + b"1:" + "é".encode()).digest()


def test_a_digest_does_not_depend_on_the_order_of_names() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


def test_what_several_namespaces_share_stands_in_the_chain_of_everywhere() -> None:
    assert chain_of(["shop"]) == chain_of(["shop", "shop"]) == "shop"
    assert chain_of(["shop", "bank"]) == chain_of(["*"]) == chain_of([]) == EVERYWHERE


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_whole_chain(length: int) -> None:
    rows, other = chain(length), chain(3, "bank")
    found = verify([*rows, *other, heads(*(c for c in (rows, other) if c))])
    assert found.document() == {
        "ok": True,
        "checked": length + 3,
        "unlinked": 0,
        "overdue": 0,
        "signed": 0,
        "first_bad": None,
    }


# Attacks on a chain of five, in which row 3 is the target: the change, and the row and error that are found.
TAMPERED: dict[str, tuple[Callable[[list[ChainRow]], list[ChainRow]], int, ChainError]] = {
    "an entry": (lambda c: [*c[:2], lied(c[2]), *c[3:]], 3, CHANGED),
    "an entry, with its own hash": (lambda c: [*c[:2], rehashed(lied(c[2])), *c[3:]], 3, CHANGED),
    "a hash": (lambda c: [*c[:2], replace(c[2], hash=ORIGIN), *c[3:]], 3, CHANGED),
    "a name in front": (lambda c: [*c[:2], replace(c[2], previous=ORIGIN), *c[3:]], 3, CHANGED),
    "the first entry": (lambda c: [rehashed(lied(c[0])), *c[1:]], 1, CHANGED),
    "the beginning": (lambda c: [rehashed(replace(c[0], previous=c[1].hash)), *c[1:]], 1, CHANGED),
    "the last entry": (lambda c: [*c[:4], rehashed(lied(c[4]))], 5, CHANGED),
    "one removed": (lambda c: [*c[:2], *c[3:]], 3, MISSING),
    "the first removed": (lambda c: c[1:], 1, MISSING),
    "the tail removed": (lambda c: c[:3], 4, MISSING),
    "all removed": (lambda _: [], 1, MISSING),
    "one twice": (lambda c: [*c[:3], c[2], *c[3:]], 3, INSERTED),
    "two of one seq": (lambda c: [*c[:3], rehashed(lied(c[2])), *c[3:]], 3, INSERTED),
    "out of order": (lambda c: [c[0], c[2], c[1], *c[3:]], 2, MISSING),
    "before the first": (lambda c: [replace(c[0], seq=0), *c], 0, INSERTED),
    "behind the head": (lambda c: [*c, rehashed(replace(lied(c[4]), seq=6, previous=c[4].hash))], 6, INSERTED),
    "of another chain": (lambda c: [*c[:2], replace(chain(3, "bank")[2], namespace="shop"), *c[3:]], 3, CHANGED),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_tampered_with_is_named(how: str) -> None:
    tamper, seq, what = TAMPERED[how]
    rows = chain(5)
    assert verify([*chain(4, "bank"), *tamper(rows), heads(chain(4, "bank"), rows)]).first_bad == Bad("shop", seq, what)


def test_without_the_hash_before_it_the_next_row_is_named() -> None:
    """The server's rows do not hold it. A row with a recomputed hash passes, and the next one does not fit."""
    rows = chain(5)
    forged = rehashed(lied(rows[2]))
    found = verify([*rows[:2], forged, replace(rows[3], previous=forged.hash), rows[4], heads(rows)])
    assert found.first_bad == Bad("shop", 4, CHANGED)


def test_a_chain_without_a_head_and_a_log_without_heads_are_cut_off() -> None:
    rows, other = chain(2), chain(3, "bank")
    assert verify([*rows, *other, heads(rows)]).first_bad == Bad("bank", 4, MISSING)
    assert verify([*rows, *other]).first_bad == Bad("bank", 4, MISSING)
    assert verify([]).first_bad == Bad("*", 1, MISSING)


def test_nothing_comes_after_the_heads() -> None:
    rows = chain(2)
    assert verify([rows[0], heads(rows), rows[1]]).first_bad == Bad("shop", 2, INSERTED)
    late = Unlinked("shop", 0, "{}")
    assert verify([*rows, heads(rows), late]).first_bad == Bad("shop", 3, INSERTED)


def test_entries_that_are_not_linked_are_counted() -> None:
    """Before the heads. Some seconds are usual; later than that, the log is not whole."""
    rows = chain(2)
    found = verify([*rows, Unlinked("shop", OVERDUE - 1, "{}"), Unlinked("shop", OVERDUE, "{}"), heads(rows)])
    assert (found.first_bad, found.unlinked, found.overdue) == (None, 2, 1)
    assert not found.document()["ok"]


def test_an_export_is_read_as_it_was_written() -> None:
    rows = chain(3)
    items: list[ChainRow | ChainHeads] = [*rows, heads(rows), ChainHeads({})]
    for item in items:
        line = export_line(item)
        assert read_line(line) == item
        assert read_line(line + "\r\n") == item
        assert "\n" not in line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "nonsense",
        "{}",
        '{"heads":{}}',
        '{"heads":[{"namespace":"a","seq":1}]}',
        '{"heads":[{"namespace":"a","seq":"1","hash":""}]}',
        '{"heads":[],"more":1}',
        '{"namespace":"a","seq":1,"hash":"00","entry":{}}',
        '{"namespace":"a","seq":1,"hash":"xx","previous_hash":"00","entry":{}}',
        '{"namespace":["a"],"seq":1,"hash":"00","previous_hash":"00","entry":{}}',
        '{"namespace":"a","seq":1,"hash":"00","previous_hash":"00","entry":{},"note":"in no hash"}',
        '{"namespace":"a","seq":1,"hash":"00","previous_hash":"00","entry":{"by":"shown","by":"hashed"}}',
        '{"namespace":"a","seq":1,"hash":"00","previous_hash":"00","entry":' + "[" * 100_000,
    ],
)
def test_what_is_no_line_of_an_export(line: str) -> None:
    with pytest.raises(ValueError, match="is not a line of an audit export"):
        read_line(line)


@pytest.mark.parametrize("said", ['"\\ud800"', "5", "[]", '{"namespace":"shop"}', '{"namespace":"shop","x":"\\ud800"}'])
def test_a_forged_entry_is_judged_whatever_it_is(said: str) -> None:
    row = read_line(f'{{"namespace":"shop","seq":1,"hash":"00","previous_hash":"{ORIGIN.hex()}","entry":{said}}}')
    assert verify([row]).first_bad == Bad("shop", 1, CHANGED)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    # Short texts and few items: an entry breaks at one character or one level, not at many.
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, database=None)
@given(details=st.dictionaries(st.text(max_size=5), VALUES, max_size=3))
def test_any_entry_survives_an_export(details: dict[str, object]) -> None:
    said = text(AuditEntry("shop", "x", "y", details=details), NOW)
    row = ChainRow("shop", 1, link(ORIGIN, 1, said), ORIGIN, said)
    assert read_line(export_line(row)) == row
    assert verify([row, heads([row])]).first_bad is None
    assert canonical_json.encode_sorted(details) in said
