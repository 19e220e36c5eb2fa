"""/v1/manifests deploys manifests (admins); /v1/definitions lists the deployed definitions."""

from typing import Any

from flask import Response, g, request

from app.api.manifest_body import YAML_TYPES, read_bundle
from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import json_response
from app.openapi.operation import operation
from app.schemas.definitions import (
    DefinitionListQuery,
    DefinitionPageSchema,
    DefinitionWithContentSchema,
    DeployedSchema,
    DeployQuery,
)
from domain.identity.access import Permission
from domain.manifests.bundle import freeze
from services.manifests import definitions as use_cases
from services.manifests.definitions import DefinitionFilter

definitions = Blueprint(
    "definitions", __name__, url_prefix="/v1", description="Manifests of workers and sagas, bundled at deployment"
)
READ, DEPLOY = Permission.DEFINITION_READ, Permission.DEFINITION_DEPLOY
_MANIFEST = {"type": "object", "description": "A manifest of `kind: worker` or `kind: saga`."}
_BUNDLE = {
    "type": "object",
    "required": ["manifest"],
    "properties": {
        "manifest": {"oneOf": [_MANIFEST, {"type": "string", "description": "The manifest as YAML."}]},
        "artifacts": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "The files that the manifest refers to, by their paths.",
        },
    },
}
_EXAMPLE = {"kind": "worker", "name": "ledger", "version": "1", "tool_sources": []}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"anyOf": [_BUNDLE, _MANIFEST]}, "example": _EXAMPLE},
        **{kind: {"schema": {"type": "string"}} for kind in YAML_TYPES},
    },
}


@operation(
    definitions,
    "POST",
    "/manifests",
    permission=DEPLOY,
    query=DeployQuery,
    answers={200: DeployedSchema},
    refuses=(409, 413, 415),
)
@definitions.doc(requestBody=_BODY)  # type: ignore[untyped-decorator]
def deploy_manifest(query: dict[str, Any]) -> Response:
    """Deploy a manifest with the files that it refers to

    Send JSON with the files, or only the manifest as YAML. The content is validated and bundled now; running sagas keep
    their version. Deploy workers before the sagas that use them. Repeating a deployment changes nothing.
    """
    bundle = read_bundle(request, deps().artifact_files)
    frozen = freeze(bundle.manifest, bundle)
    id_, message = use_cases.deploy(deps().database, g.principal, frozen, query["replace"], deps().host_rules)
    return json_response({"message": message, "id": id_})


@operation(
    definitions,
    "GET",
    "/definitions/sagas",
    permission=READ,
    query=DefinitionListQuery,
    answers={200: DefinitionPageSchema},
)
def list_saga_definitions(query: dict[str, Any]) -> Response:
    """List deployed sagas, newest first

    Without `is_active`, the list includes replaced definitions.
    """
    return _listed("saga", query)


@operation(
    definitions,
    "GET",
    "/definitions/workers",
    permission=READ,
    query=DefinitionListQuery,
    answers={200: DefinitionPageSchema},
)
def list_worker_definitions(query: dict[str, Any]) -> Response:
    """List deployed workers, newest first

    Without `is_active`, the list includes replaced definitions.
    """
    return _listed("worker", query)


@operation(
    definitions,
    "GET",
    "/definitions/sagas/<definition_id>",
    permission=READ,
    answers={200: DefinitionWithContentSchema},
    refuses=(404,),
)
def get_saga_definition(definition_id: str) -> Response:
    """Read a saga's definition with its content

    The id of a worker's definition gives 404.
    """
    return json_response(use_cases.get_definition(deps().database, g.principal, definition_id, "saga"))


@operation(
    definitions,
    "GET",
    "/definitions/workers/<definition_id>",
    permission=READ,
    answers={200: DefinitionWithContentSchema},
    refuses=(404,),
)
def get_worker_definition(definition_id: str) -> Response:
    """Read a worker's definition with its content

    The id of a saga's definition gives 404.
    """
    return json_response(use_cases.get_definition(deps().database, g.principal, definition_id, "worker"))


@operation(
    definitions,
    "GET",
    "/definitions/<definition_id>",
    permission=READ,
    answers={200: DefinitionWithContentSchema},
    refuses=(404,),
)
def get_definition(definition_id: str) -> Response:
    """Read a definition with its content

    `content` is the manifest with all files that it refers to, as sagas run it.
    """
    return json_response(use_cases.get_definition(deps().database, g.principal, definition_id))


def _listed(kind: str, query: dict[str, Any]) -> Response:
    wanted = page(query)
    found = use_cases.list_definitions(deps().database, g.principal, kind, DefinitionFilter(**query), wanted)
    return json_response(list_document(found, lambda definition: definition))
