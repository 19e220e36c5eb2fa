"""/v1/namespaces: the settings of a namespace."""

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
    """Read the approval policy of a namespace

    It applies to pauses and steps without a policy of their own.
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
    """Set the minimum approval policy of a namespace

    `null` removes the policy; one approval by any reviewer then decides.
    """
    review, limits = body.pop("review"), cast(Limits, body)
    return json_response(put_namespace(deps().database, g.principal, namespace, review, limits))
