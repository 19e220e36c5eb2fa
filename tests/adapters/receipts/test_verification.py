"""Verification: our receipts are accepted, and every other content is refused in words."""

import base64
import json
from collections.abc import Callable
from typing import Any

import joserfc.jwk
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from adapters.receipts.signing import ReceiptSigner
from adapters.receipts.verification import MAX_KEY_SET, MAX_RECEIPT, KeySetRefused, ReceiptRefused, key_set, verify

# RFC 9864 renames EdDSA to Ed25519. Most verifiers know the earlier name.
pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
SIGNER = ReceiptSigner()
KEY = SIGNER.new_key()
OTHER = SIGNER.new_key()
CLAIMS: dict[str, Any] = {
    "iss": "https://hold.example",
    "iat": 1796187600,
    "jti": "rct_1",
    "watch_id": "wch_1",
    "revision": 1,
    "action_sha256": "00",
    "arguments_sha256": None,
    "outcome": "approved",
    "decided_at": "2026-12-02T05:00:00.000Z",
    "decided_by": "usr_a",
    "valid_until": None,
    "votes": [],
    "policy": {"approvals": 1, "groups": []},
    "requested_by": "key_a",
}
TOKEN = SIGNER.sign(KEY, CLAIMS)
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")
KEYS = key_set(json.dumps({"keys": [OTHER.jwk, KEY.jwk]}).encode())


def part(content: object) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(payload: bytes, **header: Any) -> str:
    """Sign anything with the good key, as a holder of it could."""
    assert KEY.private is not None
    private = load_pem_private_key(KEY.private.encode(), None)
    headers = {"typ": "sagahold-receipt+jwt", "kid": KEY.kid, **header}
    return jwt.PyJWS().encode(payload, private, algorithm="EdDSA", headers=headers)  # type: ignore[arg-type]


def test_a_good_receipt() -> None:
    found = verify(TOKEN.encode(), KEYS)
    assert (found.kid, found.claims) == (KEY.kid, CLAIMS)
    # Editors and shells add a line end.
    assert verify(f"{TOKEN}\r\n".encode(), KEYS) == found


def test_a_receipt_may_have_claims_of_a_later_release() -> None:
    found = verify(signed(json.dumps({**CLAIMS, "log": {"index": 4}}).encode()).encode(), KEYS)
    assert found.claims["log"] == {"index": 4}


@given(place=st.integers(0, len(TOKEN) - 1), char=st.characters(min_codepoint=0, max_codepoint=255))
def test_a_change_of_any_character_is_refused(place: int, char: str) -> None:
    """Also of the last one, of which some bits mean nothing."""
    changed = TOKEN[:place] + char + TOKEN[place + 1 :]
    if changed.strip() == TOKEN:
        return
    with pytest.raises(ReceiptRefused):
        verify(changed.encode("latin-1"), KEYS)


def test_the_last_character_counts_whole() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same = [
        char
        for char in alphabet
        if base64.urlsafe_b64decode(f"{SIGNATURE[:-1]}{char}==")[-1:] == base64.urlsafe_b64decode(f"{SIGNATURE}==")[-1:]
        and char != SIGNATURE[-1]
    ]
    assert same
    for char in same:
        with pytest.raises(ReceiptRefused, match="canonical"):
            verify(f"{TOKEN[:-1]}{char}".encode(), KEYS)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused(content: bytes) -> None:
    with pytest.raises(ReceiptRefused):
        verify(content, KEYS)
    with pytest.raises(KeySetRefused):
        key_set(content)


DEEP = b"[" * 30_000 + b"]" * 30_000


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not three base64url parts"),
        (TOKEN[: len(TOKEN) // 2], "not three base64url parts"),
        (TOKEN[:-6], "64 bytes"),
        (f"{HEADER}.{PAYLOAD}.", "not three base64url parts"),
        (f"{HEADER}..{SIGNATURE}", "not three base64url parts"),
        (f"{TOKEN}.{SIGNATURE}", "not three base64url parts"),
        (f"{HEADER}.{PAYLOAD} .{SIGNATURE}", "not three base64url parts"),
        (f"{HEADER}.{PAYLOAD}=.{SIGNATURE}", "not three base64url parts"),
        (f"{HEADER}.{PAYLOAD}.A", "not base64url"),
        (f"{HEADER}.{PAYLOAD}.AB", "canonical"),
        (TOKEN.replace(".", "…"), "not ASCII"),
        ("A" * (MAX_RECEIPT + 1), "larger than 256 KiB"),
        (json.dumps({"payload": PAYLOAD, "signature": SIGNATURE, "protected": HEADER}), "compact JWS"),
        (f"{part({'alg': 'none'})}.{PAYLOAD}.{SIGNATURE}", "'none', not 'EdDSA'"),
        (f"{part({'alg': 'HS256'})}.{PAYLOAD}.{SIGNATURE}", "'HS256', not 'EdDSA'"),
        (f"{part({'alg': 'eddsa'})}.{PAYLOAD}.{SIGNATURE}", "'eddsa', not 'EdDSA'"),
        (f"{part({'alg': ['EdDSA']})}.{PAYLOAD}.{SIGNATURE}", "not 'EdDSA'"),
        (f"{part({})}.{PAYLOAD}.{SIGNATURE}", "'None', not 'EdDSA'"),
        (f"{part([])}.{PAYLOAD}.{SIGNATURE}", "header is not a JSON object"),
        (f"{part(DEEP)}.{PAYLOAD}.{SIGNATURE}", "header is not a JSON object"),
        (f"{part(b'1' * 5000)}.{PAYLOAD}.{SIGNATURE}", "header is not a JSON object"),
        (f"{part(b'xyz')}.{PAYLOAD}.{SIGNATURE}", "header is not a JSON object"),
        (f"{part(bytes([255, 254]))}.{PAYLOAD}.{SIGNATURE}", "header is not a JSON object"),
        (f'{part(b"""{"alg":"EdDSA","alg":"EdDSA"}""")}.{PAYLOAD}.{SIGNATURE}', "each name once"),
        (f"{HEADER}.{part({**CLAIMS, 'outcome': 'rejected'})}.{SIGNATURE}", "signature is wrong"),
        (f"{HEADER}.{PAYLOAD}.{part(bytes(64))}", "signature is wrong"),
        (SIGNER.sign(SIGNER.new_key(), CLAIMS), "does not have its key"),
        (f"{part({'alg': 'EdDSA', 'typ': 'sagahold-receipt+jwt', 'kid': OTHER.kid})}.{PAYLOAD}.{SIGNATURE}", "wrong"),
        (signed(b"{}", typ="JWT"), "another kind of token"),
        (signed(b"{}", typ=None), "another kind of token"),
        (signed(b"{}", kid="x"), "does not have its key 'x'"),
        (signed(json.dumps(CLAIMS).encode(), jku="https://evil.example"), "unknown members: jku"),
        (signed(json.dumps(CLAIMS).encode(), crit=["exp"], exp=1), "unknown members"),
        (signed(b"{}"), "claims are missing"),
        (signed(b"[]"), "content is not a JSON object"),
        (signed(DEEP), "content is not a JSON object"),
        (signed(json.dumps(CLAIMS)[:-1].encode() + b',"outcome":"rejected"}'), "each name once"),
        (signed(json.dumps({**CLAIMS, "iat": float("nan")}).encode()), "content is not a JSON object"),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_a_bad_receipt_is_refused(content: str, why: str) -> None:
    with pytest.raises(ReceiptRefused, match=why):
        verify(content.encode(), KEYS)


def test_a_key_in_the_header_is_not_used() -> None:
    """The oldest attack on JWS: the token brings its own key."""
    theirs = joserfc.jwk.OKPKey.generate_key("Ed25519")
    header = {"alg": "EdDSA", "typ": "sagahold-receipt+jwt", "kid": KEY.kid, "jwk": theirs.as_dict(private=False)}
    forged = joserfc.jws.serialize_compact(header, json.dumps(CLAIMS), theirs, algorithms=["EdDSA"])
    with pytest.raises(ReceiptRefused):
        verify(forged.encode(), KEYS)


def test_a_public_key_is_no_shared_secret() -> None:
    """The second oldest: the public key as the secret of an HMAC."""
    forged = jwt.PyJWS().encode(b"{}", KEY.public, algorithm="HS256", headers={"kid": KEY.kid})
    with pytest.raises(ReceiptRefused, match="'HS256'"):
        verify(forged.encode(), KEYS)


def test_keys_of_another_type_are_ignored() -> None:
    others = [{"kty": "RSA", "kid": "r"}, {"kty": "OKP", "crv": "X25519", "x": KEY.public, "kid": "x"}]
    assert list(key_set(json.dumps({"keys": [*others, KEY.jwk]}).encode())) == [KEY.kid]


def _without(name: str) -> dict[str, str]:
    return {key: value for key, value in KEY.jwk.items() if key != name}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"keys": []}, "no Ed25519 key"),
        ({"keys": [{"kty": "RSA", "kid": "r"}]}, "no Ed25519 key"),
        ({"keys": [KEY.jwk, KEY.jwk]}, "twice"),
        ({"keys": [{**KEY.jwk, "kid": "mine"}]}, "thumbprint"),
        ({"keys": [{**KEY.jwk, "x": OTHER.public}]}, "thumbprint"),
        ({"keys": [_without("kid")]}, "not a set of keys"),
        ({"keys": [_without("x")]}, "not a set of keys"),
        ({"keys": ["x"]}, "not a set of keys"),
        ({"keys": 5}, "not a set of keys"),
        ([KEY.jwk], "not a set of keys"),
        (KEY.jwk, "not a set of keys"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_bad_set_of_keys_is_refused(content: Any, why: str) -> None:
    with pytest.raises(KeySetRefused, match=why):
        key_set(json.dumps(content).encode())


@pytest.mark.parametrize("make", [lambda: b" " * (MAX_KEY_SET + 1), lambda: DEEP, lambda: b'{"keys":[],"keys":[]}'])
def test_a_hostile_set_of_keys_is_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(KeySetRefused):
        key_set(make())
