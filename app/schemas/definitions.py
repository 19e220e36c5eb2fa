"""Schemas of definitions and of the responses to a deployment."""

from marshmallow import Schema, fields, validate

from app.schemas.fields import DEFINITION_ID, PageQuery, TrueOrFalse, matches, namespace, page_of, text
from domain.manifests.manifest import KINDS


class DeployQuery(Schema):
    replace = TrueOrFalse(
        load_default=False,
        metadata={"description": "Whether to replace this version if it is deployed with other content."},
    )


class DeployedSchema(Schema):
    message = fields.String(required=True)
    id = fields.String(required=True, validate=matches(DEFINITION_ID, "Not the id of a definition."))


class DefinitionListQuery(PageQuery):
    namespace = namespace()
    name = text(1, 100)
    is_active = TrueOrFalse()


class DefinitionSchema(Schema):
    id = fields.String(required=True)
    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    is_active = fields.Boolean(
        required=True,
        metadata={"description": "Whether the definition is active; a later deployment may have replaced it."},
    )
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class DefinitionWithContentSchema(DefinitionSchema):
    created_by = fields.String(required=True)
    content = fields.Dict(required=True, metadata={"description": "The manifest with all files that it refers to."})


DefinitionPageSchema = page_of(DefinitionSchema, "DefinitionPageSchema")
