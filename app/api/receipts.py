"""Signed receipts of decisions, and the keys that sign them."""

from flask import Response, g

from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import created, json_response
from app.openapi.operation import idempotent_request, operation
from app.schemas.receipts import JwkSetSchema, ReceiptKeySchema, ReceiptKeysSchema
from domain.identity.access import Permission
from domain.pauses.serialization import pause_id
from services.pauses.receipt_keys import list_keys, published_keys, rotate_key
from services.pauses.receipts import issue_receipt

receipts = Blueprint("receipts", __name__, description="Signed proof of a decision, verified without this server")
MANAGE = Permission.RECEIPT_KEY_MANAGE
JOSE = "application/jose"
# A verifier asks again when it does not know a key, so a rotation need not wait for caches.
CACHED = "public, max-age=300"


@operation(
    receipts,
    "GET",
    "/api/pause/<watch_id>/receipt",
    permission=Permission.PAUSE_READ,
    answers={200: JOSE},
    refuses=(404, 409),
)
def get_receipt(watch_id: str) -> Response:
    """Get the signed receipt of a resolved pause

    A compact JWS of the type `sagahold-receipt+jwt`, signed with Ed25519 (`alg` EdDSA). docs/receipts.md describes its
    claims. A pending pause yields 409, `NOT_RESOLVED`.
    """
    receipt = issue_receipt(deps().database, deps().signer, g.principal, pause_id(watch_id))
    return Response(receipt, content_type=JOSE)


@operation(receipts, "GET", "/.well-known/jwks.json", permission=None, answers={200: JwkSetSchema})
def get_key_set() -> Response:
    """Get the public keys that verify receipts

    A JSON Web Key Set (RFC 7517). Retired keys stay in it, so that older receipts can be verified. Pages of other
    origins may read it too.
    """
    keys = published_keys(deps().database, deps().signer)
    return json_response({"keys": keys}, headers={"Cache-Control": CACHED, "Access-Control-Allow-Origin": "*"})


@operation(receipts, "GET", "/v1/receipt-keys", permission=MANAGE, answers={200: ReceiptKeysSchema})
def list_receipt_keys() -> Response:
    """List the keys that sign receipts, the current one first

    Each has the place of its private key, and the problem if this server cannot sign with it. Only an admin of all
    namespaces may list and rotate these keys.
    """
    return json_response({"items": list_keys(deps().database, deps().signer, g.principal)})


@operation(
    receipts,
    "POST",
    "/v1/receipt-keys/rotate",
    permission=MANAGE,
    answers={201: ReceiptKeySchema, 200: ReceiptKeySchema},
    creates=True,
)
def rotate_receipt_key() -> Response:
    """Sign receipts with a new key from now on

    The old private key is deleted. Its public key stays published, so earlier receipts remain valid.
    """
    return created(*rotate_key(deps().database, deps().signer, g.principal, idempotent_request()))
