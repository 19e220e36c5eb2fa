"""Signed checkpoints: each state of a log that is signed follows from the one before, and a forger cannot hide."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from adapters.receipts.notes import verify_checkpoint
from adapters.receipts.signing import ReceiptSigner
from domain.identity.access import Role
from domain.log.audit_chain import SignedRoot, read_line, signed_root
from domain.log.audit_chain import verify as verdict_on
from domain.log.checkpoint import Checkpoint
from domain.log.merkle import extends, includes, leaf_hash
from domain.values.errors import Invalid, NotFound, ReceiptKeyUnavailable
from services.kernel.unit_of_work import Database
from services.log import tree
from services.log.audit import export, verify
from services.log.proofs import latest_checkpoint, prove_consistency, prove_inclusion
from services.operations.checkpoints import Checkpoints, LogRewritten
from services.pauses.receipt_keys import current_key, rotate_key
from tests.services.world import ADMIN, an_endpoint, at_once, change, linked, one, rows, someone

HOUR = timedelta(hours=1)
ALL = someone(Role.OPERATOR, "*")


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of four hashes, so that few entries fill three tiers of them."""
    monkeypatch.setattr(tree, "WIDTH", 4)
    monkeypatch.setattr(tree, "LEVELS", 2)


@pytest.fixture
def checkpoints(database: Database) -> Checkpoints:
    return Checkpoints(database, ReceiptSigner(), HOUR)


def write(database: Database, count: int, namespace: str = "shop") -> None:
    with database.transaction() as uow:
        for number in range(count):
            uow.record(ADMIN, namespace, "thing.changed", f"thing_{number}")
    linked(database)


def checkpoint(database: Database) -> Checkpoint:
    """The latest checkpoint, verified with the current key."""
    key = current_key(database, ReceiptSigner())
    note = latest_checkpoint(database, ALL, "shop")
    return verify_checkpoint(note, {key.kid: Ed25519PublicKey.from_public_bytes(key.public_bytes)})


def signed(database: Database) -> list[tuple[int, bool]]:
    found = rows(database, "SELECT size, kept FROM audit_checkpoints WHERE namespace = 'shop' ORDER BY size")
    return [(row["size"], row["kept"]) for row in found]


def texts(database: Database) -> list[str]:
    found = rows(database, "SELECT entry::text AS entry FROM audit_events WHERE namespace = 'shop' ORDER BY seq")
    return [row["entry"] for row in found]


def forge(database_url: str, *statements: str) -> None:
    """Change the log as the owner of the database can."""
    with psycopg2.connect(database_url) as conn, conn.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)


def test_each_checkpoint_follows_from_those_before(database: Database, checkpoints: Checkpoints) -> None:
    with pytest.raises(NotFound):
        latest_checkpoint(database, ALL, "shop")
    earlier: list[Checkpoint] = []
    for count in (1, 2, 1, 5, 7, 50, 1):
        write(database, count)
        checkpoints.sign()
        latest = checkpoint(database)
        entries = texts(database)
        assert latest.size == len(entries)
        for known in earlier:
            found = prove_consistency(database, ALL, "shop", known.size, latest.size)
            proof = [bytes.fromhex(each) for each in found["hashes"]]
            assert extends(known.size, known.root, latest.size, latest.root, proof)
            assert found["root"] == latest.root.hex()
        for index, entry in enumerate(entries):
            found = prove_inclusion(database, ALL, "shop", index, latest.size)
            proof = [bytes.fromhex(each) for each in found["hashes"]]
            assert includes(leaf_hash(entry), index, latest.size, proof, latest.root)
            assert (found["origin"], found["leaf_hash"]) == (latest.origin, leaf_hash(entry).hex())
        earlier.append(latest)
    assert signed(database) == [(1, True), (67, False)]
    # The chain of the key's own entry, and this one.
    assert checkpoints.sign() == 0
    assert one(database, "SELECT max(tier) FROM audit_tiles") == 3
    assert verify(database, ALL, "shop")["signed"] == 2


def test_two_processes_sign_one_after_the_other(database: Database, checkpoints: Checkpoints) -> None:
    write(database, 40)
    assert not [found for found in at_once([checkpoints.sign] * 4) if isinstance(found, Exception)]
    checkpoints.sign()
    assert checkpoint(database).size == 40
    assert verify(database, ALL, "shop")["ok"]


def test_one_an_hour_is_kept_and_sent(database: Database, checkpoints: Checkpoints) -> None:
    # Its creation is the first entry of the log.
    an_endpoint(database, event_types=("audit.checkpoint",), namespaces=("shop",))
    for _ in range(3):
        write(database, 1)
        checkpoints.sign()
    assert signed(database) == [(2, True), (4, False)]
    assert one(database, "SELECT count(*) FROM webhook_messages") == 0
    hour_later = "UPDATE audit_checkpoints SET signed_at = signed_at - interval '1 hour'"
    change(database, hour_later)
    checkpoints.sign()
    checkpoints.sign()
    # Nothing new was written: the last one is sent as it is.
    assert signed(database) == [(2, True), (4, True)]
    change(database, hour_later)
    write(database, 2)
    checkpoints.sign()
    assert signed(database) == [(2, True), (4, True), (6, True)]
    bodies = [json.loads(row["body"]) for row in rows(database, "SELECT body FROM webhook_messages ORDER BY id")]
    assert [(body["type"], body["data"]["size"]) for body in bodies] == [
        ("audit.checkpoint", 4),
        ("audit.checkpoint", 6),
    ]
    last = signed_root(bodies[-1]["data"]["checkpoint"])
    assert (last.namespace, last.size, last.root) == ("shop", 6, checkpoint(database).root)
    assert bodies[-1]["data"]["root"] == last.root.hex()


def test_proofs_only_of_what_is_there(database: Database, checkpoints: Checkpoints) -> None:
    write(database, 3)
    checkpoints.sign()
    with pytest.raises(Invalid):
        prove_inclusion(database, ALL, "shop", 0, 4)
    with pytest.raises(Invalid):
        prove_inclusion(database, ALL, "shop", 2, 2)
    with pytest.raises(Invalid):
        prove_consistency(database, ALL, "shop", 3, 2)


REWRITE = """
DO $$ DECLARE row record; last bytea := decode(repeat('00', 32), 'hex'); BEGIN
    FOR row IN SELECT seq, entry::text AS entry FROM audit_events WHERE namespace = 'shop' ORDER BY seq LOOP
        last := sha256(last || convert_to(row.seq::text || ':' || row.entry, 'UTF8'));
        UPDATE audit_events SET hash = last WHERE namespace = 'shop' AND seq = row.seq;
    END LOOP;
    UPDATE audit_heads SET hash = last WHERE namespace = 'shop';
END $$"""
FORGED = "UPDATE audit_events SET entry = replace(entry::text, 'thing_', 'thong_')::json WHERE namespace = 'shop'"
CUT = (
    "DELETE FROM audit_events WHERE namespace = 'shop' AND seq > 3",
    "UPDATE audit_heads SET seq = 3, hash = (SELECT hash FROM audit_events WHERE namespace = 'shop' AND seq = 3)"
    " WHERE namespace = 'shop'",
)


def lines(database: Database) -> Iterator[Any]:
    return (read_line(line) for line in export(database, ALL, "shop"))


def test_a_forger_who_computes_all_hashes_again(
    database: Database, checkpoints: Checkpoints, database_url: str
) -> None:
    """The chain then looks intact. The checkpoint does not fit, and no further one is signed."""
    write(database, 6)
    checkpoints.sign()
    trusted = signed_root(latest_checkpoint(database, ALL, "shop"))
    # The leaves below the fifth one are stored, so the tree would not show their change.
    forge(database_url, f"{FORGED} AND seq = 5", REWRITE)
    bad = {"namespace": "shop", "seq": 1, "what": "rewritten"}
    assert verify(database, ALL, "shop")["first_bad"] == bad
    assert verdict_on(lines(database)).document()["first_bad"] == bad
    write(database, 1)
    with pytest.raises(LogRewritten, match="below entry 6"):
        checkpoints.sign()
    write(database, 1, "bank")
    with pytest.raises(LogRewritten):
        checkpoints.sign()
    assert one(database, "SELECT size FROM audit_checkpoints WHERE namespace = 'bank'") == 1, "others go on"
    # The forger removes the checkpoints, too. The reader has kept one.
    forge(database_url, "DELETE FROM audit_checkpoints", "DELETE FROM audit_tiles")
    assert verify(database, ALL, "shop")["ok"]
    assert verdict_on([trusted, *lines(database)]).document()["first_bad"] == bad


def test_a_cut_tail(database: Database, checkpoints: Checkpoints, database_url: str) -> None:
    write(database, 6)
    checkpoints.sign()
    forge(database_url, *CUT)
    bad = {"namespace": "shop", "seq": 4, "what": "missing"}
    assert verify(database, ALL, "shop")["first_bad"] == bad
    with pytest.raises(Invalid):
        prove_consistency(database, ALL, "shop", 3, 6)


def test_the_first_bad_entry_follows_the_last_that_a_checkpoint_proves(
    database: Database, checkpoints: Checkpoints, database_url: str
) -> None:
    write(database, 2)
    checkpoints.sign()
    write(database, 4)
    checkpoints.sign()
    forge(database_url, f"{FORGED} AND seq = 3", REWRITE)
    assert verify(database, ALL, "shop")["first_bad"] == {"namespace": "shop", "seq": 3, "what": "rewritten"}


def test_two_checkpoints_of_one_size_with_two_roots() -> None:
    """A log that shows different contents to different readers."""
    log = [SignedRoot("shop", 1, bytes(32)), SignedRoot("shop", 1, bytes(31) + b"x")]
    assert verdict_on(log).document()["first_bad"] == {"namespace": "shop", "seq": 1, "what": "rewritten"}


def test_missing_entries_stop_the_tree(database: Database, checkpoints: Checkpoints, database_url: str) -> None:
    write(database, 6)
    forge(database_url, "DELETE FROM audit_events WHERE namespace = 'shop' AND seq = 2")
    with pytest.raises(tree.TornChain, match="entry 2"):
        checkpoints.sign()
    forge(database_url, "DELETE FROM audit_events WHERE namespace = 'shop' AND seq = 6")
    assert one(database, "SELECT count(*) FROM audit_checkpoints WHERE namespace = 'shop'") == 0


def test_without_its_key_nothing_is_signed_and_nothing_lost(database: Database) -> None:
    write(database, 1)
    Checkpoints(database, ReceiptSigner("x" * 32), HOUR).sign()
    write(database, 1)
    with pytest.raises(ReceiptKeyUnavailable):
        Checkpoints(database, ReceiptSigner(), HOUR).sign()
    rotate_key(database, ReceiptSigner(), someone(Role.ADMIN, "*"), None)
    linked(database)
    Checkpoints(database, ReceiptSigner(), HOUR).sign()
    assert checkpoint(database).size == 2
