"""/v1/namespaces: what holds for a whole namespace."""

from typing import Any, cast

from flask import Response, g

from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import json_response
from app.openapi.operation import operation
from app.schemas.namespaces import NamespaceChangeSchema, NamespaceSchema
from domain.identity.access import Permission
from services.pauses.namespaces import Limits, get_namespace, put_namespace

namespaces = Blueprint("namespaces", __name__, url_prefix="/v1/namespaces", description="Defaults of a namespace")


@operation(
    namespaces,
    "GET",
    "/<namespace>",
    permission=Permission.NAMESPACE_MANAGE,
    answers={200: NamespaceSchema},
    refuses=(404,),
)
def read_namespace(namespace: str) -> Response:
    """Read the review policy of a namespace

    It holds for pauses and steps that say none of their own.
    """
    return json_response(get_namespace(deps().database, g.principal, namespace))


@operation(
    namespaces,
    "PUT",
    "/<namespace>",
    permission=Permission.NAMESPACE_MANAGE,
    body=NamespaceChangeSchema,
    example={"review": {"approvals": 2}},
    answers={200: NamespaceSchema},
    refuses=(404,),
)
def change_namespace(body: dict[str, Any], namespace: str) -> Response:
    """Set what every review in the namespace asks for at least

    `null` takes the policy away: then one approval of anybody decides.
    """
    review, limits = body.pop("review"), cast(Limits, body)
    return json_response(put_namespace(deps().database, g.principal, namespace, review, limits))
