"""Encryption of short secrets in the database, with a key from SAGAHOLD_ENCRYPTION_KEY."""

import base64
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# The first characters of a stored text tell its kind.
_ENCRYPTED, _PLAIN = "fernet:", "plain:"


@dataclass(frozen=True)
class TextCipher:
    """Encrypts and decrypts texts. `passphrase`: None stores new texts as they are."""

    passphrase: str | None = field(default=None, repr=False)

    def encrypt(self, text: str) -> str:
        if self._fernet is None:
            return _PLAIN + text
        return _ENCRYPTED + self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Return the text. Raise `ValueError`, whose text tells an operator what to do."""
        if stored.startswith(_PLAIN):
            return stored.removeprefix(_PLAIN)
        if self._fernet is None:
            raise ValueError("the secret is encrypted: set SAGAHOLD_ENCRYPTION_KEY for this process")
        try:
            return self._fernet.decrypt(stored.removeprefix(_ENCRYPTED).encode()).decode()
        except InvalidToken:
            raise ValueError("another SAGAHOLD_ENCRYPTION_KEY encrypted the secret: set that one") from None

    @cached_property
    def _fernet(self) -> Fernet | None:
        if self.passphrase is None:
            return None
        # The passphrase is random and long, so it needs no slow derivation.
        derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sagahold text cipher v1")
        return Fernet(base64.urlsafe_b64encode(derive.derive(self.passphrase.encode())))
