"""Verification of the evidence of a pause or saga, without a server: `python -m sagahold.evidence FILE.zip`.

It needs the extra `sagahold[evidence]`. A file proves that its entries are in the log that the checkpoint names, and
that the log's key signed the checkpoint and the receipts. It shares no code with the server.
"""

import argparse
import base64
import binascii
import hashlib
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# Bytes of one file in the archive: a saga has at most 10,000 entries, of a few kilobytes each.
MOST = 256 * 1024 * 1024
RECEIPT_TYPE = "sagahold-receipt+jwt"
_SIGNATURE = "\N{EM DASH} "


class EvidenceRefused(Exception):
    """The file proves nothing. The message says which part is wrong."""


@dataclass(frozen=True)
class Evidence:
    """The proven content of a file.

    Attributes:
        log: the name of the log.
        size: the number of entries in it at the checkpoint.
        root: the Merkle root at the checkpoint, in hex.
        entries: the entries, in the order of the log, each with its `index`.
        receipts: the claims of the receipts.
        kids: the names of the keys that signed.
    """

    log: str
    size: int
    root: str
    entries: Sequence[Mapping[str, Any]]
    receipts: Sequence[Mapping[str, Any]]
    kids: Sequence[str]


def verify(archive: Path, jwks: Path | None = None) -> Evidence:
    """Verify the archive. Raise `EvidenceRefused`.

    Args:
        jwks: the public keys from a source that you trust; None takes those of the archive.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            parts = {info.filename: _read(opened, info) for info in opened.infolist()}
            if len(parts) != len(opened.infolist()):
                raise EvidenceRefused("a file is in the archive twice")
        keys = _keys(json.loads(parts["keys.json"] if jwks is None else jwks.read_bytes()))
        kid, log, size, root = _checkpoint(parts["checkpoint.txt"].decode(), keys)
        lines = parts["entries.jsonl"].decode().split("\n")
        entries = [_entry(json.loads(line), size, root) for line in lines if line]
        receipts = [_receipt(content.decode().strip(), keys) for name, content in parts.items() if _is_receipt(name)]
    except EvidenceRefused:
        raise
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EvidenceRefused(f"it is not a file of evidence, or a part of it cannot be read: {error}") from None
    for signed_by, claims in receipts:
        _check_logged(claims, entries)
        kid |= {signed_by}
    return Evidence(log, size, root.hex(), entries, [claims for _, claims in receipts], sorted(kid))


def _read(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > MOST:
        raise EvidenceRefused(f"{info.filename[:80]!r} is too large")
    return opened.read(info)


def _is_receipt(name: str) -> bool:
    return name.startswith("receipts/") and name.endswith(".jws")


def _keys(document: Any) -> "dict[str, Ed25519PublicKey]":
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise EvidenceRefused('it cannot be verified here: run `pip install "sagahold[evidence]"`') from None
    found = {}
    for jwk in document["keys"]:
        if jwk.get("crv") != "Ed25519":
            continue
        thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{jwk["x"]}"}}'.encode()).digest()
        if jwk["kid"] != base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode():
            raise EvidenceRefused("the name of a public key is not its thumbprint")
        found[jwk["kid"]] = Ed25519PublicKey.from_public_bytes(_base64url(jwk["x"]))
    return found


def _checkpoint(note: str, keys: "Mapping[str, Ed25519PublicKey]") -> tuple[set[str], str, int, bytes]:
    """Return the names of the keys that signed the note, the log's name, its size and its root."""
    head, _, lines = note.rpartition("\n\n")
    text = head + "\n"
    origin, size, root = text.split("\n")[:3]
    signatures = [line.removeprefix(_SIGNATURE).split(" ") for line in lines.split("\n") if line.startswith(_SIGNATURE)]
    signed = set()
    for kid, key in keys.items():
        public = key.public_bytes_raw()
        key_id = hashlib.sha256(origin.encode() + b"\n\x01" + public).digest()[:4]
        for name, encoded in signatures:
            content = base64.b64decode(encoded, validate=True)
            if name == origin and content[:4] == key_id:
                _verify(key, content[4:], text.encode(), "the checkpoint")
                signed.add(kid)
    if not signed:
        raise EvidenceRefused("none of the public keys has signed the checkpoint")
    return signed, origin, int(size), base64.b64decode(root, validate=True)


def _entry(line: Mapping[str, Any], size: int, root: bytes) -> dict[str, Any]:
    """Return the entry with its index. Raise `EvidenceRefused` if the tree does not have it there."""
    index, content = line["index"], line["entry"]
    found = hashlib.sha256(b"\x00" + content.encode()).digest()
    place, last = index, size - 1
    for sibling in map(bytes.fromhex, line["proof"]):
        if place % 2 or place == last:
            found = hashlib.sha256(b"\x01" + sibling + found).digest()
            while place and not place % 2:
                place, last = place // 2, last // 2
        else:
            found = hashlib.sha256(b"\x01" + found + sibling).digest()
        place, last = place // 2, last // 2
    if not 0 <= index < size or last != 0 or found != root:
        raise EvidenceRefused(f"the entry {index} is not in the log of the checkpoint: it was changed")
    return {**json.loads(content), "index": index}


def _receipt(token: str, keys: "Mapping[str, Ed25519PublicKey]") -> tuple[str, dict[str, Any]]:
    header, payload, signature = token.split(".")
    named = json.loads(_base64url(header))
    if named.get("typ") != RECEIPT_TYPE or named.get("alg") != "EdDSA":
        raise EvidenceRefused("a receipt is another kind of token")
    if named["kid"] not in keys:
        raise EvidenceRefused("none of the public keys has signed a receipt")
    _verify(keys[named["kid"]], _base64url(signature), f"{header}.{payload}".encode(), "a receipt")
    claims: dict[str, Any] = json.loads(_base64url(payload))
    return named["kid"], claims


def _check_logged(claims: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> None:
    """Raise `EvidenceRefused` unless an entry says what the receipt says."""
    wanted = claims["watch_id"], f"pause.{claims['outcome']}", claims["decided_at"]
    if wanted not in [(entry.get("subject"), entry.get("type"), entry.get("at")) for entry in entries]:
        raise EvidenceRefused(f"no entry records the decision of the receipt of {claims['watch_id']}")


def _verify(key: "Ed25519PublicKey", signature: bytes, content: bytes, what: str) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        raise EvidenceRefused(f"the signature of {what} is wrong: it was changed") from None


def _base64url(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise EvidenceRefused("a part is not base64url") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a file from the command line. Return 0 if it is genuine, else 1."""
    parser = argparse.ArgumentParser("python -m sagahold.evidence", description="Verify a file of evidence.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--jwks", type=Path, help="the public keys from a source that you trust")
    given = parser.parse_args(arguments)
    try:
        found = verify(given.file, given.jwks)
    except EvidenceRefused as refused:
        sys.stderr.write(f"sagahold: the evidence is not genuine, because {refused}\n")
        return 1
    lines = [
        f"genuine: {len(found.entries)} entries and {len(found.receipts)} receipts",
        f"log: {found.log}, {found.size} entries, root {found.root}",
        f"signed by: {', '.join(found.kids)}",
        *(f"{entry['at']}  {entry['type']:<20} {entry['subject']}  by {entry['by']}" for entry in found.entries),
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
