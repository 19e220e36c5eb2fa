"""Verification of a receipt against a set of public keys (JWKS), from bytes of unknown origin.

A receipt has one form: three canonical base64url parts, no name twice, the three header members that we write. JOSE
allows more, and each variant that a verifier admits has been an attack on some verifier.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt import PyJWS
from jwt.exceptions import InvalidTokenError

from adapters.receipts.signing import ALGORITHM
from domain.pauses.receipt import TYPE, wrong_claims
from domain.pauses.receipt_key import base64url, thumbprint

# A policy of ten stages and its votes need less.
MAX_RECEIPT = 256 * 1024
MAX_KEY_SET = 1024 * 1024
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class ReceiptRefused(Exception):
    """The receipt proves nothing. The message says why."""


class KeySetRefused(Exception):
    """The set of keys cannot be used. The message says why."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt whose signature is good."""

    kid: str
    claims: Mapping[str, Any]


Keys = Mapping[str, Ed25519PublicKey]


def verify(content: bytes, keys: Keys) -> Receipt:
    """Return the receipt. Raise `ReceiptRefused`."""
    if len(content) > MAX_RECEIPT:
        raise ReceiptRefused(f"it is larger than {MAX_RECEIPT // 1024} KiB")
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ReceiptRefused("it is not ASCII text") from None
    found = _COMPACT.fullmatch(token)
    if found is None:
        raise ReceiptRefused("it is not three base64url parts with dots between (a compact JWS)")
    header, payload, signature = (_decoded(part) for part in found.groups())
    key = _key(_object(header, "header"), keys)
    if len(signature) != 64:
        raise ReceiptRefused("its signature does not have 64 bytes: it is not an Ed25519 signature")
    try:
        PyJWS().decode_complete(token, keys[key], algorithms=[ALGORITHM])
    except InvalidTokenError:
        raise ReceiptRefused("its signature is wrong: the receipt was changed, or another key signed it") from None
    claims = _object(payload, "content")
    if wrong := wrong_claims(claims):
        raise ReceiptRefused(f"its claims are missing or of a wrong type: {', '.join(wrong)}")
    return Receipt(key, claims)


def key_set(content: bytes) -> Keys:
    """Return the Ed25519 keys of a JWKS by their names. Raise `KeySetRefused`."""
    if len(content) > MAX_KEY_SET:
        raise KeySetRefused("it is larger than 1 MiB")
    try:
        listed = parse_json(content)["keys"]
        keys: dict[str, Ed25519PublicKey] = {}
        for jwk in listed:
            # RFC 7517: keys of another type are ignored.
            if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
                continue
            kid, x = jwk["kid"], jwk["x"]
            if kid in keys:
                raise KeySetRefused(f"it has the key {kid[:50]!r} twice")
            if kid != thumbprint(x):
                raise KeySetRefused(f"the key {kid[:50]!r} does not have its RFC 7638 thumbprint as its name")
            keys[kid] = Ed25519PublicKey.from_public_bytes(_decoded(x))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ReceiptRefused):
        raise KeySetRefused('it is not a set of keys, {"keys": [{"kty": "OKP", …}]}') from None
    if not keys:
        raise KeySetRefused("it has no Ed25519 key")
    return keys


def _key(header: Mapping[str, Any], keys: Keys) -> str:
    if header.get("alg") != ALGORITHM:
        raise ReceiptRefused(f"its algorithm is {str(header.get('alg'))[:20]!r}, not {ALGORITHM!r}")
    if header.get("typ") != TYPE:
        raise ReceiptRefused(f"its type is {str(header.get('typ'))[:40]!r}, not {TYPE!r}: it is another kind of token")
    if extra := sorted(header.keys() - {"alg", "typ", "kid"}):
        raise ReceiptRefused(f"its header has unknown members: {', '.join(extra)[:100]}")
    kid = header.get("kid")
    if not isinstance(kid, str) or kid not in keys:
        raise ReceiptRefused(f"the set of keys does not have its key {str(kid)[:50]!r}")
    return kid


def _decoded(part: str) -> bytes:
    """Decode base64url. Raise `ReceiptRefused` unless it is the only encoding of its bytes."""
    try:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise ReceiptRefused("one of its parts is not base64url") from None
    if base64url(content) != part:
        raise ReceiptRefused("one of its parts is not canonical base64url")
    return content


def _object(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = parse_json(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ReceiptRefused(f"its {name} is not a JSON object with each name once")
    return found


def parse_json(content: bytes) -> Any:
    """Parse JSON in UTF-8, each name once. Raise `ValueError`, `RecursionError`."""
    return json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject a duplicate name, because parsers disagree on which value counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
