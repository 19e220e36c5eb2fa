"""Shapes of definitions, and of what deploying answers."""

from marshmallow import Schema, ValidationError, fields, validate

from app.schemas.fields import DEFINITION_ID, PageQuery, matches, namespace, page_of, text
from domain.manifest import KINDS


class _TrueOrFalse(fields.Boolean):
    """`true` or `false` in a query."""

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> bool:
        if value not in ("true", "false"):
            raise ValidationError("Neither true nor false.")
        return value == "true"


class DeployQuery(Schema):
    replace = _TrueOrFalse(
        load_default=False, metadata={"description": "also where this version is deployed with other content"}
    )


class DeployedSchema(Schema):
    message = fields.String(required=True)
    id = fields.String(required=True, validate=matches(DEFINITION_ID, "Not the id of a definition."))


class DefinitionListQuery(PageQuery):
    namespace = namespace()
    name = text(1, 100)
    is_active = _TrueOrFalse()


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
