"""A key that signs receipts, and its name."""

import base64
from dataclasses import dataclass, field

from domain.values import canonical_json


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs receipts.

    Attributes:
        kid: its name in receipts, which is the RFC 7638 thumbprint of the public key.
        public: the 32 bytes of the Ed25519 public key, as unpadded base64url.
        private: the private key as PEM; None if it is retired, or in a file.
    """

    kid: str
    public: str
    private: str | None = field(default=None, repr=False)

    @property
    def public_bytes(self) -> bytes:
        return base64.urlsafe_b64decode(self.public + "=")

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as published (RFC 8037)."""
        key = {"kty": "OKP", "crv": "Ed25519", "x": self.public}
        return {**key, "kid": self.kid, "use": "sig", "alg": "EdDSA"}


@dataclass(frozen=True, slots=True)
class KeyState:
    """The place of a private key.

    Attributes:
        place: `database` or `folder`.
        encrypted: None if the key cannot be found.
        problem: why this server cannot sign with the key, and what to do; None if it can.
    """

    place: str
    encrypted: bool | None
    problem: str | None = None


def thumbprint(public: str) -> str:
    """Return the RFC 7638 thumbprint of the public key."""
    return base64url(canonical_json.digest({"crv": "Ed25519", "kty": "OKP", "x": public}))


def base64url(content: bytes) -> str:
    """Encode as RFC 7515 does, without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
