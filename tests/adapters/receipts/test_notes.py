"""Signed notes: the one of Go's `sumdb/note`, and checkpoints that were changed on the way."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from adapters.receipts.notes import NoteRefused, verify_checkpoint
from adapters.receipts.signing import ReceiptSigner
from adapters.receipts.verification import Keys
from domain.log.checkpoint import (
    Checkpoint,
    NoteSignature,
    key_id,
    note,
    origin_of,
    read_checkpoint,
    read_note,
    verifier_key,
)
from tests.domain.log.test_checkpoint import ORIGIN, SIGNATURE, TEXT, VKEY

SIGNED = f"{TEXT}\n{SIGNATURE}\n"


@pytest.fixture(scope="module")
def signed() -> tuple[str, Keys]:
    signer = ReceiptSigner()
    key = signer.new_key()
    text = Checkpoint(ORIGIN, 7, bytes(range(32))).text
    signature = signer.sign_note(key, text.encode())
    public = Ed25519PublicKey.from_public_bytes(key.public_bytes)
    return note(text, NoteSignature(ORIGIN, key_id(ORIGIN, key.public_bytes), signature)), {key.kid: public}


def test_the_note_of_go() -> None:
    """Its id, its key and its signature are computed as ours are."""
    public = base64.b64decode(VKEY.rpartition("+")[2])[1:]
    text, (signature,) = read_note(SIGNED)
    assert (text, signature.name, signature.key_id) == (TEXT, "PeterNeumann", key_id("PeterNeumann", public))
    Ed25519PublicKey.from_public_bytes(public).verify(signature.signature, text.encode())
    assert verifier_key("PeterNeumann", public) == VKEY
    assert note(text, signature) == SIGNED


def test_a_signed_checkpoint(signed: tuple[str, Keys]) -> None:
    content, keys = signed
    found = verify_checkpoint(content, keys)
    assert found == Checkpoint(ORIGIN, 7, bytes(range(32))) == read_checkpoint(found.text)
    assert found.namespace == "default"
    assert origin_of("https://hold.example.com/base", "default") == ORIGIN
    witnessed = content + "— witness.example/w AAAAAGRn\n"
    assert verify_checkpoint(witnessed, keys) == found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\n7\n", "\n8\n", "signature is wrong"),
        ("default\n", "other\n", "none of the keys"),
        ("\n7\n", "\n07\n", "not a checkpoint"),
        ("\n7\n", "\nseven\n", "not a checkpoint"),
        ("AAECAwQF", "AAEC", "not a checkpoint"),
        ("\n\n", "\n", "not a signed note"),
        ("\N{EM DASH} ", "- ", "not a signed note"),
        ("hold.example.com/base/audit/default ", "", "not a signed note"),
    ],
)
def test_a_changed_checkpoint_is_refused(signed: tuple[str, Keys], old: str, new: str, said: str) -> None:
    content, keys = signed
    with pytest.raises(NoteRefused, match=said):
        verify_checkpoint(content.replace(old, new), keys)


def test_a_checkpoint_of_another_key_is_refused(signed: tuple[str, Keys]) -> None:
    other = ReceiptSigner().new_key()
    with pytest.raises(NoteRefused, match="none of the keys"):
        verify_checkpoint(signed[0], {other.kid: Ed25519PublicKey.from_public_bytes(other.public_bytes)})
