"""Receipts from real rows: whose they are, how each voter authenticated, and the keys that sign them."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.receipts.signing import ReceiptSigner
from adapters.receipts.verification import key_set, verify
from domain.identity.access import Authentication, Principal, Role
from domain.pauses.pause import Approve, OnTimeout
from domain.values.errors import Forbidden, NotFound, NotResolved, ReceiptKeyUnavailable
from services.kernel.unit_of_work import Database
from services.log.row_verification import verify_rows
from services.pauses.lifecycle import actor, expire_due
from services.pauses.receipt_keys import current_key, list_keys, published_keys, rotate_key
from services.pauses.receipts import issue_receipt
from services.reviews.decisions import decide_pause
from tests.services.reviewers import key
from tests.services.world import (
    ADMIN,
    AGENT,
    REVIEWER,
    at_once,
    cancel,
    change,
    expire,
    idempotency,
    let_time_approve,
    linked,
    one,
    post,
    rows,
    someone,
    uuid_of,
)

SIGNER = ReceiptSigner()


def receipt(database: Database, watch_id: str, signer: ReceiptSigner = SIGNER) -> dict[str, Any]:
    """Issue a receipt, verify it with the published keys, and return its claims."""
    token = issue_receipt(database, signer, AGENT, uuid_of(watch_id))
    keys = key_set(json.dumps({"keys": published_keys(database, signer)}).encode())
    return dict(verify(token.encode(), keys).claims)


def approved(database: Database, by: Principal = REVIEWER, **changes: Any) -> str:
    watch_id = post(database, **changes)
    command = Approve(actor(by))
    decide_pause(database, by, uuid_of(watch_id), command)
    return watch_id


def test_the_receipt_of_an_approval(database: Database) -> None:
    watch_id = approved(database, arguments={"a": 1})
    found = receipt(database, watch_id)
    assert (found["watch_id"], found["outcome"], found["iss"]) == (watch_id, "approved", database.public_url)
    assert (found["requested_by"], found["decided_by"]) == (AGENT.id, REVIEWER.id)
    again = receipt(database, watch_id)
    assert again["jti"] != found["jti"]
    assert {**again, "jti": 0, "iat": 0} == {**found, "jti": 0, "iat": 0}


def test_who_may_not_read_the_pause_gets_no_receipt(database: Database) -> None:
    id_ = uuid_of(approved(database))
    for stranger in (someone(Role.AGENT, id_="key_other"), someone(Role.ADMIN, "elsewhere")):
        with pytest.raises(NotFound):
            issue_receipt(database, SIGNER, stranger, id_)
    for reader in (AGENT, REVIEWER, ADMIN):
        assert issue_receipt(database, SIGNER, reader, id_)


def test_a_pending_pause_has_none(database: Database) -> None:
    with pytest.raises(NotResolved):
        issue_receipt(database, SIGNER, AGENT, uuid_of(post(database)))


def test_time_and_the_creator_decide_without_votes(database: Database) -> None:
    let_time_approve(database)
    late, cancelled = post(database, on_timeout=OnTimeout.APPROVE), post(database)
    expire(database, late)
    expire_due(database)
    decide_pause(database, AGENT, uuid_of(cancelled), cancel())
    found = receipt(database, late)
    assert (found["outcome"], found["decided_by"], found["votes"]) == ("approved", "system", [])
    found = receipt(database, cancelled)
    assert (found["outcome"], found["decided_by"], found["votes"]) == ("cancelled", AGENT.id, [])


class TestAuthentication:
    def test_of_the_only_vote(self, database: Database) -> None:
        by = Principal("usr_a", "Ann", Role.REVIEWER, ("default",), auth=Authentication.OIDC)
        (vote,) = receipt(database, approved(database, by))["votes"]
        assert (vote["person"], vote["name"], vote["auth"]) == ("usr_a", "Ann", "oidc")

    def test_of_each_of_several_votes(self, database: Database) -> None:
        voters = [key(database, "a"), key(database, "b")]
        watch_id = post(database, review={"approvals": 2})
        for by, auth in zip(voters, (Authentication.API_KEY, None), strict=True):
            voter = Principal(by.id, by.name, by.role, by.namespaces, auth=auth)
            decide_pause(database, voter, uuid_of(watch_id), Approve(actor(voter)))
        found = receipt(database, watch_id)
        assert [vote["auth"] for vote in found["votes"]] == ["api_key", "unknown"]

    def test_of_an_earlier_release_is_unknown(self, database: Database) -> None:
        watch_id = approved(database)
        change(database, "UPDATE pauses SET decided_auth = NULL")
        (vote,) = receipt(database, watch_id)["votes"]
        assert vote["auth"] == "unknown"

    def test_is_protected_by_the_log(self, database: Database) -> None:
        approved(database, Principal("usr_a", "Ann", Role.REVIEWER, ("default",), auth=Authentication.PASSWORD))
        assert not verify_rows(database, ADMIN, None).bad
        change(database, "UPDATE pauses SET decided_auth = 'oidc'")
        (bad,) = verify_rows(database, ADMIN, None).document()["bad"]
        assert (bad["field"], bad["logged"], bad["found"]) == ("decided_auth", "password", "oidc")


class TestKeys:
    def test_the_first_use_makes_one(self, database: Database) -> None:
        (jwk,) = published_keys(database, SIGNER)
        assert jwk["kid"] == current_key(database, SIGNER).kid
        assert jwk.keys() == {"kty", "crv", "x", "kid", "use", "alg"}
        assert one(linked(database), "SELECT entry ->> 'type' FROM audit_events") == "receipt_key.created"

    @pytest.mark.parametrize("in_files", [False, True])
    def test_processes_that_start_at_once_make_one(self, in_files: bool, database: Database, tmp_path: Path) -> None:
        signer = ReceiptSigner(None, tmp_path if in_files else None)
        made = at_once([lambda: current_key(database, signer)] * 8)
        assert len({key.kid for key in made if not isinstance(key, Exception)}) == 1
        assert not [each for each in made if isinstance(each, Exception)]
        assert len(list(tmp_path.iterdir())) == in_files

    def test_a_rotation_deletes_the_old_private_key(self, database: Database) -> None:
        watch_id = approved(database)
        old = issue_receipt(database, SIGNER, AGENT, uuid_of(watch_id))
        before = current_key(database, SIGNER)
        made, _ = rotate_key(database, SIGNER, ADMIN, None)
        assert [jwk["kid"] for jwk in published_keys(database, SIGNER)] == [made["kid"], before.kid]
        keys = key_set(json.dumps({"keys": published_keys(database, SIGNER)}).encode())
        assert verify(old.encode(), keys).kid == before.kid
        assert current_key(database, SIGNER).kid == made["kid"]
        assert receipt(database, watch_id)["outcome"] == "approved"
        (kept,) = rows(database, "SELECT kid FROM receipt_keys WHERE private_key IS NOT NULL")
        assert kept["kid"] == made["kid"]
        listed = list_keys(database, SIGNER, ADMIN)
        assert [(key["place"], key["retired_at"] is None) for key in listed] == [("database", True), (None, False)]

    def test_a_rotation_replaces_the_file(self, database: Database, tmp_path: Path) -> None:
        signer = ReceiptSigner(None, tmp_path)
        watch_id = approved(database)
        assert receipt(database, watch_id, signer)
        made, _ = rotate_key(database, signer, ADMIN, None)
        assert [file.stem for file in tmp_path.iterdir()] == [made["kid"]]
        assert receipt(database, watch_id, signer)

    def test_a_rotation_moves_the_key(self, database: Database, tmp_path: Path) -> None:
        """The settings say where the next key goes; the current one stays usable."""
        watch_id = approved(database)
        assert receipt(database, watch_id)
        signer = ReceiptSigner("p" * 40, tmp_path)
        assert list_keys(database, signer, ADMIN)[0]["place"] == "database"
        assert receipt(database, watch_id, signer)
        rotate_key(database, signer, ADMIN, None)
        (first, _) = list_keys(database, signer, ADMIN)
        assert (first["place"], first["encrypted"], first["problem"]) == ("folder", True, None)
        assert receipt(database, watch_id, signer)

    def test_a_rotation_during_a_receipt(self, database: Database, tmp_path: Path) -> None:
        """The file may be gone between the reading of the row and that of the file."""
        signer = _RotatesFirst(None, tmp_path)
        signer_of_others = ReceiptSigner(None, tmp_path)
        watch_id = approved(database)
        current_key(database, signer_of_others)
        ROTATE.append(lambda: rotate_key(database, signer_of_others, ADMIN, None))
        assert receipt(database, watch_id, signer)
        assert ROTATE == []

    def test_a_lost_private_key_needs_a_rotation(self, database: Database) -> None:
        """For example a lost passphrase."""
        watch_id = approved(database)
        receipt(database, watch_id, ReceiptSigner("p" * 40))
        signer = ReceiptSigner("q" * 40)
        with pytest.raises(ReceiptKeyUnavailable, match="rotate-key"):
            issue_receipt(database, signer, AGENT, uuid_of(watch_id))
        assert "another" in list_keys(database, signer, ADMIN)[0]["problem"]
        rotate_key(database, signer, ADMIN, None)
        assert receipt(database, watch_id, signer)

    def test_rotations_at_once_follow_each_other(self, database: Database) -> None:
        current_key(database, SIGNER)
        made = at_once([lambda: rotate_key(database, SIGNER, ADMIN, None)] * 4)
        assert not [each for each in made if isinstance(each, Exception)]
        assert len(published_keys(database, SIGNER)) == 5
        assert one(database, "SELECT count(*) FROM receipt_keys WHERE retired_at IS NULL") == 1

    def test_a_repeated_rotation_rotates_once(self, database: Database) -> None:
        first, replayed = rotate_key(database, SIGNER, ADMIN, idempotency("rotate-1"))
        assert not replayed
        assert rotate_key(database, SIGNER, ADMIN, idempotency("rotate-1")) == (first, True)
        assert len(published_keys(database, SIGNER)) == 2

    def test_only_an_admin_of_all_namespaces_manages_them(self, database: Database) -> None:
        for use in (lambda by: list_keys(database, SIGNER, by), lambda by: rotate_key(database, SIGNER, by, None)):
            with pytest.raises(Forbidden, match="admin of all"):
                use(someone(Role.ADMIN, "default"))

    def test_the_log_has_each_rotation_and_no_key(self, database: Database) -> None:
        current_key(database, SIGNER)
        rotate_key(database, SIGNER, ADMIN, None)
        entries = [row["entry"] for row in rows(linked(database), "SELECT entry FROM audit_events ORDER BY seq")]
        assert [entry["type"] for entry in entries] == ["receipt_key.created", "receipt_key.rotated"]
        assert "PRIVATE" not in json.dumps(entries)


ROTATE: list[Any] = []


class _RotatesFirst(ReceiptSigner):
    """A process in which a rotation by another one comes between two steps."""

    def sign(self, key: Any, claims: Any) -> str:
        while ROTATE:
            ROTATE.pop()()
        return super().sign(key, claims)
