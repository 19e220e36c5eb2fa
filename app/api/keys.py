"""/v1/keys: an admin makes, lists, rotates and revokes API keys."""

from datetime import timedelta
from typing import Any

from flask import Response, g

from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import created, json_response
from app.openapi.operation import once, operation
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
    """Make a key; it is shown this once

    A program sends it as `Authorization: Bearer hitl_…`. An admin makes keys that reach no further than their own.
    """
    new = NewKey(body["name"], body["role"], tuple(body["namespaces"]), body["expires_at"])
    return created(*use_cases.create_key(deps().database, g.principal, new, once()))


@operation(keys, "GET", "", permission=Permission.KEY_MANAGE, query=PageQuery, answers={200: KeyPageSchema})
def list_keys(query: dict[str, Any]) -> Response:
    """List keys, the newest first

    Without the keys themselves, of which only hashes are stored.
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
    """Give a key a new secret, shown this once

    It is the same key: its pauses, votes and sagas stay its own. The secret before works for a day more, or as long as
    `overlap_seconds` says. Two work at most: a rotation before that has passed ends the older one, or the newer one
    where that was never used.
    """
    overlap = timedelta(seconds=body["overlap_seconds"])
    return created(*use_cases.rotate_key(deps().database, g.principal, key_id, overlap, once()))


@operation(
    keys,
    "POST",
    "/<key_id>/revoke",
    permission=Permission.KEY_MANAGE,
    answers={200: KeySchema},
    refuses=(404,),
)
def revoke_key(key_id: str) -> Response:
    """Revoke a key: effective everywhere within 5 s

    It cannot be taken back: make a new one.
    """
    return json_response(use_cases.revoke_key(deps().database, g.principal, key_id))
