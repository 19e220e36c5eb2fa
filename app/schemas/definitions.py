"""Shapes of definitions, and of what deploying answers."""

from marshmallow import Schema, fields, validate

from app.schemas.fields import DEFINITION_ID, PageQuery, TrueOrFalse, matches, namespace, page_of, text
from domain.manifests.manifest import KINDS


class DeployQuery(Schema):
    replace = TrueOrFalse(
        load_default=False, metadata={"description": "also where this version is deployed with other content"}
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
    is_active = fields.Boolean(required=True, metadata={"description": "false: replaced by a later deployment"})
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class DefinitionWithContentSchema(DefinitionSchema):
    created_by = fields.String(required=True)
    content = fields.Dict(required=True, metadata={"description": "the manifest with everything that it refers to"})


DefinitionPageSchema = page_of(DefinitionSchema, "DefinitionPageSchema")
