"""Checkpoints and signed notes as texts: read as they are written, and refused when they are something else."""

import base64

import pytest

from domain.log.checkpoint import (
    MAX_NOTE,
    Checkpoint,
    key_id,
    note,
    origin_of,
    read_checkpoint,
    read_note,
    verifier_key,
)

# From the documentation of Go's package golang.org/x/mod/sumdb/note.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = (
    "\N{EM DASH} PeterNeumann"
    " x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
ORIGIN = "hold.example.com/base/audit/default"


def test_the_note_of_go() -> None:
    """Its key and the key's id are computed as ours are, and it reads and writes as it is."""
    public = base64.b64decode(VKEY.rpartition("+")[2])[1:]
    assert verifier_key("PeterNeumann", public) == VKEY
    text, (signature,) = read_note(f"{TEXT}\n{SIGNATURE}\n")
    assert (text, signature.name, signature.key_id) == (TEXT, "PeterNeumann", key_id("PeterNeumann", public))
    assert note(text, signature) == f"{TEXT}\n{SIGNATURE}\n"


def test_a_checkpoint_reads_as_it_is_written() -> None:
    found = Checkpoint(origin_of("https://hold.example.com/base/", "default"), 7, bytes(range(32)))
    assert (found.origin, found.namespace) == (ORIGIN, "default")
    assert read_checkpoint(f"{found.text}an extension\n") == found


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        f"{TEXT}\n{SIGNATURE}",
        f"{TEXT * MAX_NOTE}\n{SIGNATURE}\n",
        f"{TEXT}\n{SIGNATURE.removeprefix(chr(0x2014))}\n",
        f"{TEXT}\n{SIGNATURE}?\n",
        f"{TEXT}\n\N{EM DASH} PeterNeumann\n",
        f"{TEXT}\n\N{EM DASH} PeterNeumann x08goA==\n",
    ],
    ids=["unsigned", "cut", "long", "no dash", "no base64", "no signature", "only an id"],
)
def test_no_note(content: str) -> None:
    with pytest.raises(ValueError, match="not a signed note"):
        read_note(content)


@pytest.mark.parametrize("size", ["07", "-1", "seven", ""])
def test_no_size(size: str) -> None:
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(f"{ORIGIN}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n")


@pytest.mark.parametrize("text", [ORIGIN, f"{ORIGIN}\n7\nAAAA\n", f"{ORIGIN}\n7\n?\n", f"\n7\n{'A' * 43}=\n"])
def test_no_checkpoint(text: str) -> None:
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(text)
