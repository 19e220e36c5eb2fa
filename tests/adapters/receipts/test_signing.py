"""Signing: the storage of private keys, and receipts that an independent library verifies."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import joserfc.jwk
import joserfc.jws
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adapters.receipts.signing import ReceiptSigner
from domain.pauses.receipt_key import SigningKey
from domain.values.errors import ReceiptKeyUnavailable

SECRET = "p" * 40
CLAIMS = {"watch_id": "wch_1", "name": "Žaneta"}


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_joserfc_verifies_a_receipt() -> None:
    signer = ReceiptSigner()
    key = signer.new_key()
    theirs = joserfc.jwk.OKPKey.import_key(key.jwk)
    token = joserfc.jws.deserialize_compact(signer.sign(key, CLAIMS), theirs, algorithms=["EdDSA"])
    assert json.loads(token.payload) == CLAIMS
    assert token.headers() == {"alg": "EdDSA", "kid": key.kid, "typ": "sagahold-receipt+jwt"}
    assert theirs.thumbprint() == key.kid


def test_without_a_passphrase_the_row_has_the_key_itself() -> None:
    key = ReceiptSigner().new_key()
    assert key.private is not None
    assert key.private.startswith("-----BEGIN PRIVATE KEY-----")
    state = ReceiptSigner().state(key)
    assert (state.place, state.encrypted, state.problem) == ("database", False, None)


def test_a_passphrase_encrypts_the_row() -> None:
    signer = ReceiptSigner(SECRET)
    key = signer.new_key()
    assert key.private is not None
    assert key.private.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert signer.sign(key, CLAIMS)
    assert signer.state(key).encrypted is True
    assert SECRET not in repr(signer)
    assert "PRIVATE" not in repr(key)
    for other, why in ((ReceiptSigner(), "set SAGAHOLD_ENCRYPTION_KEY"), (ReceiptSigner("q" * 40), "another")):
        with pytest.raises(ReceiptKeyUnavailable, match=why) as refused:
            other.sign(key, CLAIMS)
        assert SECRET not in str(refused.value)
        state = other.state(key)
        assert (state.encrypted, state.problem) == (True, refused.value.detail)


def test_a_passphrase_that_is_set_later_leaves_the_key_usable() -> None:
    key = ReceiptSigner().new_key()
    assert ReceiptSigner(SECRET).sign(key, CLAIMS)
    assert ReceiptSigner(SECRET).state(key).encrypted is False


@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_a_file_is_for_its_owner_only(passphrase: str | None, tmp_path: Path) -> None:
    signer = ReceiptSigner(passphrase, tmp_path)
    key = signer.new_key()
    file = tmp_path / f"{key.kid}.pem"
    assert key.private is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ("ENCRYPTED" in file.read_text()) is (passphrase is not None)
    assert signer.sign(key, CLAIMS)
    assert signer.state(key).place == "folder"
    with pytest.raises(ReceiptKeyUnavailable, match="SAGAHOLD_RECEIPT_KEYS_DIR"):
        ReceiptSigner(passphrase).sign(key, CLAIMS)
    signer.forget(key)
    signer.forget(key)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ReceiptKeyUnavailable, match=r"cannot read .*No such file.*rotate-key"):
        signer.sign(key, CLAIMS)
    state = signer.state(key)
    assert state.encrypted is None
    assert state.problem is not None


def test_a_key_in_the_row_has_no_file_to_forget(tmp_path: Path) -> None:
    key = ReceiptSigner().new_key()
    (tmp_path / f"{key.kid}.pem").touch()
    ReceiptSigner(None, tmp_path).forget(key)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ReceiptKeyUnavailable, match="make the folder writable"):
        ReceiptSigner(None, tmp_path / "gone").new_key()


def test_a_private_key_that_is_not_the_published_one() -> None:
    signer = ReceiptSigner()
    key, other = signer.new_key(), signer.new_key()
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for private in (other.private, rsa):
        with pytest.raises(ReceiptKeyUnavailable, match="is not that of"):
            signer.sign(replace(key, private=private), CLAIMS)
    with pytest.raises(ReceiptKeyUnavailable, match="damaged"):
        signer.sign(SigningKey(key.kid, key.public, "-----BEGIN PRIVATE KEY-----"), CLAIMS)
