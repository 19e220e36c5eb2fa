"""/v1/keys: admins create, list, rotate and revoke API keys."""

from datetime import timedelta
from typing import Any

from flask import Response, g

from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import created, json_response
from app.openapi.operation import idempotent_request, operation
from app.schemas.fields import PageQuery
from app.schemas.keys import KeyPageSchema, KeySchema, KeyWithSecretSchema, NewKeySchema, RotationSchema
from domain.identity.access import Permission
from services.identity import keys as use_cases
from services.identity.keys import NewKey

keys = Blueprint("keys", __name__, url_prefix="/v1/keys", description="API keys, shown once and stored as a hash")


@operation(
    keys,
    "POST",
    "",
    permission=Permission.KEY_MANAGE,
    body=NewKeySchema,
    example={"name": "deploy bot", "role": "agent", "namespaces": ["default"]},
    answers={201: KeyWithSecretSchema, 200: KeyWithSecretSchema},
    creates=True,
)
def create_key(body: dict[str, Any]) -> Response:
    """Create a key

    A program sends it as `Authorization: Bearer hitl_…`. Only this response shows the key. Its namespaces must be among
    the admin's own.
    """
    new = NewKey(body["name"], body["role"], tuple(body["namespaces"]), body["expires_at"])
    return created(*use_cases.create_key(deps().database, g.principal, new, idempotent_request()))


@operation(keys, "GET", "", permission=Permission.KEY_MANAGE, query=PageQuery, answers={200: KeyPageSchema})
def list_keys(query: dict[str, Any]) -> Response:
    """List keys, newest first

    The response does not show the keys themselves; Sagahold stores only their hashes.
    """
    return json_response(list_document(use_cases.list_keys(deps().database, g.principal, page(query)), lambda key: key))


@operation(
    keys,
    "POST",
    "/<key_id>/rotate",
    permission=Permission.KEY_MANAGE,
    body=RotationSchema,
    example={"overlap_seconds": 86400},
    answers={201: KeyWithSecretSchema, 200: KeyWithSecretSchema},
    refuses=(404, 409),
    creates=True,
)
def rotate_key(body: dict[str, Any], key_id: str) -> Response:
    """Rotate a key

    Only this response shows the new secret. The key keeps its id, pauses, votes and sagas. The previous secret stays
    valid for one day, or for `overlap_seconds`. At most two secrets are valid: an earlier rotation ends the older one,
    or the newer one if it was never used.
    """
    overlap = timedelta(seconds=body["overlap_seconds"])
    return created(*use_cases.rotate_key(deps().database, g.principal, key_id, overlap, idempotent_request()))


@operation(
    keys,
    "POST",
    "/<key_id>/revoke",
    permission=Permission.KEY_MANAGE,
    answers={200: KeySchema},
    refuses=(404,),
)
def revoke_key(key_id: str) -> Response:
    """Revoke a key

    The revocation takes effect everywhere within 5 s. It is final; create a new key instead.
    """
    return json_response(use_cases.revoke_key(deps().database, g.principal, key_id))
