"""Signing of receipts, and the storage of the private keys: in the database's row, or as files in a folder.

A private key is PKCS #8 PEM. With a passphrase it is encrypted, in the row as well as in the file.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt import PyJWS

from domain.pauses.receipt import TYPE
from domain.pauses.receipt_key import KeyState, SigningKey, base64url, thumbprint
from domain.values import canonical_json
from domain.values.errors import ReceiptKeyUnavailable

ALGORITHM = "EdDSA"
ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----"
# A PEM of this kind has less than 400 characters.
MAX_PEM = 10_000
ROTATE = "or run `sagahold receipt rotate-key`"


@dataclass(frozen=True, slots=True)
class ReceiptSigner:
    """The maker and user of signing keys.

    Attributes:
        passphrase: encrypts new private keys (SAGAHOLD_ENCRYPTION_KEY); None stores them as they are.
        folder: the folder for new private keys; None is the database.
    """

    passphrase: str | None = field(default=None, repr=False)
    folder: Path | None = None

    def new_key(self) -> SigningKey:
        """Make a key. With a folder, its file is written before this returns."""
        private = Ed25519PrivateKey.generate()
        public = _public(private)
        kid = thumbprint(public)
        encryption: KeySerializationEncryption = NoEncryption()
        if self.passphrase is not None:
            encryption = BestAvailableEncryption(self.passphrase.encode())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        if self.folder is None:
            return SigningKey(kid, public, pem.decode())
        self._write(self._file(kid), pem)
        return SigningKey(kid, public)

    def sign(self, key: SigningKey, claims: Mapping[str, Any]) -> str:
        """Return the receipt. Raise `ReceiptKeyUnavailable`."""
        private = self._private(key)
        payload = canonical_json.encode(claims).encode()
        headers = {"typ": TYPE, "kid": key.kid}
        return PyJWS().encode(payload, private, algorithm=ALGORITHM, headers=headers, sort_headers=True)

    def sign_note(self, key: SigningKey, content: bytes) -> bytes:
        """Return the Ed25519 signature of a note's text. Raise `ReceiptKeyUnavailable`.

        A note ends with a line break, which the signed part of a receipt never contains.
        """
        return self._private(key).sign(content)

    def state(self, key: SigningKey) -> KeyState:
        """Return the place of the private key, and whether this server can sign with it."""
        place = "folder" if key.private is None else "database"
        encrypted = None
        try:
            encrypted = self._pem(key).startswith(ENCRYPTED)
            self._private(key)
        except ReceiptKeyUnavailable as error:
            return KeyState(place, encrypted, error.detail)
        return KeyState(place, encrypted)

    def forget(self, key: SigningKey) -> None:
        """Remove the key's file, if it has one here."""
        if key.private is None and self.folder is not None:
            with contextlib.suppress(OSError):
                self._file(key.kid).unlink()

    def _private(self, key: SigningKey) -> Ed25519PrivateKey:
        pem = self._pem(key)
        encrypted = pem.startswith(ENCRYPTED)
        if encrypted and self.passphrase is None:
            raise ReceiptKeyUnavailable(f"the key is encrypted: set SAGAHOLD_ENCRYPTION_KEY, {ROTATE}")
        try:
            secret = self.passphrase.encode() if encrypted and self.passphrase is not None else None
            private = load_pem_private_key(pem.encode(), secret)
        except (ValueError, TypeError):
            why = "another SAGAHOLD_ENCRYPTION_KEY encrypted the key: set that one" if encrypted else "it is damaged"
            raise ReceiptKeyUnavailable(f"{why}, {ROTATE}") from None
        if not isinstance(private, Ed25519PrivateKey) or _public(private) != key.public:
            raise ReceiptKeyUnavailable(f"the private key is not that of {key.kid}: restore it, {ROTATE}")
        return private

    def _pem(self, key: SigningKey) -> str:
        if key.private is not None:
            return key.private
        if self.folder is None:
            raise ReceiptKeyUnavailable(f"{key.kid}.pem is in a folder: set SAGAHOLD_RECEIPT_KEYS_DIR to it, {ROTATE}")
        file = self._file(key.kid)
        try:
            with file.open(encoding="ascii", errors="replace") as opened:
                return opened.read(MAX_PEM)
        except OSError as error:
            raise ReceiptKeyUnavailable(f"cannot read {file} ({error.strerror}): restore it, {ROTATE}") from None

    def _file(self, kid: str) -> Path:
        assert self.folder is not None, "only keys in a folder have files"
        return self.folder / f"{kid}.pem"

    def _write(self, file: Path, content: bytes) -> None:
        """Write the file for its owner only, and to the disk: the database will refer to it."""
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(descriptor)
        except OSError as error:
            raise ReceiptKeyUnavailable(
                f"cannot write {file} ({error.strerror}): make the folder writable, or unset SAGAHOLD_RECEIPT_KEYS_DIR"
            ) from None


def _public(private: Ed25519PrivateKey) -> str:
    return base64url(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
