"""The proof of HCP Terraform that it knows a key: an HMAC of the request's body.

It cannot send a key. Its HMAC key is the SHA-256 of a key, in hex, which the server knows although it stores no keys.
This value opens no other door, and it ends with the key.
"""

import hashlib
import hmac

from flask import Request

from app.deps import deps
from app.http.problems import HTTPProblem
from domain.identity.access import Principal
from services.identity.keys import authenticate, valid_hashes

HEADER = "x-tfc-task-signature"
_DETAIL = (
    "the signature does not fit a valid key: end the URL of the run task with the id of a key."
    " The HMAC key is the SHA-256 of that key in hex (printf %s hitl_… | sha256sum)"
)


def identify(request: Request) -> Principal:
    """Return the key that the URL names and the signature proves. Raise `HTTPProblem` 401."""
    # A signature of other characters is a wrong one, not an error.
    signature = request.headers.get(HEADER, "").encode("utf-8", "replace")
    body = request.get_data()
    for hash_ in valid_hashes(deps().database, str((request.view_args or {}).get("key_id", ""))):
        expected = hmac.new(hash_.hex().encode(), body, hashlib.sha512).hexdigest().encode()
        if hmac.compare_digest(expected, signature):
            principal = authenticate(deps().database, hash_)
            if principal is not None:
                return principal
    raise HTTPProblem(401, "UNAUTHENTICATED", _DETAIL, {"WWW-Authenticate": f'HMAC-SHA512 header="{HEADER}"'})
