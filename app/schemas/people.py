"""Schemas of people and groups."""

from typing import Any

from marshmallow import Schema, fields, validate

from app.schemas.fields import PageQuery, ShortList, TrueOrFalse, YesOrNo, namespaces, page_of, text
from domain.identity.access import Role
from domain.identity.person import MAX_CHANNEL, MAX_CHANNELS, MAX_EMAIL, MAX_GROUPS, MAX_NAME, ROLES

_CHANNELS = {"description": "Apprise URLs. They contain secrets, so responses show only their kind."}


def _role(**kwargs: Any) -> fields.Enum[Role]:
    known = [str(role) for role in ROLES]
    return fields.Enum(
        Role, by_value=fields.String(), validate=validate.OneOf(ROLES), metadata={"enum": known}, **kwargs
    )


def _channels() -> ShortList:
    return ShortList(fields.String(validate=validate.Length(1, MAX_CHANNEL)), 0, MAX_CHANNELS, metadata=_CHANNELS)


class PersonChangeSchema(Schema):
    email = text(3, MAX_EMAIL, metadata={"format": "email"})
    name = text(1, MAX_NAME)
    role = _role()
    namespaces = namespaces()
    groups = ShortList(fields.String(validate=validate.Length(1, 63)), 0, MAX_GROUPS)
    channels = _channels()
    disabled = YesOrNo(
        metadata={"description": "Whether the person is disabled; this ends all their sessions at once."}
    )

    remove_password = YesOrNo(
        metadata={"description": "Whether to remove the password; only the person can set a new one."}
    )


class NewPersonSchema(PersonChangeSchema):
    class Meta:
        exclude = ("disabled", "remove_password")

    email = text(3, MAX_EMAIL, required=True, metadata={"format": "email"})
    name = text(1, MAX_NAME, required=True)
    role = _role(required=True)
    namespaces = namespaces(required=True)


class PeopleQuery(PageQuery):
    email = text(1, MAX_EMAIL)


class PersonSchema(Schema):
    id = fields.String(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    role = fields.String(required=True)
    namespaces = fields.List(fields.String(), required=True)
    groups = fields.List(fields.String(), required=True)
    channels = fields.List(fields.String(), required=True)
    has_password = fields.Boolean(required=True)
    away_until = fields.AwareDateTime(required=True, allow_none=True)
    delegate_id = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    created_by = fields.String(required=True)
    disabled_at = fields.AwareDateTime(required=True, allow_none=True)


class SignInLinkSchema(Schema):
    url = fields.String(required=True, metadata={"description": "The link, which signs the person in once."})
    expires_at = fields.AwareDateTime(required=True)


class SignedOutSchema(Schema):
    sessions = fields.Integer(required=True)


class GroupChangeSchema(Schema):
    description = text(0, 500, allow_none=True, load_default=None)
    channels = _channels()


class GroupQuery(Schema):
    new = TrueOrFalse(
        load_default=False,
        metadata={"description": "Whether the group must be new; an existing one gives 409, `GROUP_EXISTS`."},
    )


class GroupSchema(Schema):
    name = fields.String(required=True)
    description = fields.String(required=True, allow_none=True)
    channels = fields.List(fields.String(), required=True)
    created_at = fields.AwareDateTime(required=True)
    created_by = fields.String(required=True)


class GroupWithPeopleSchema(GroupSchema):
    people = fields.Integer(required=True, metadata={"description": "The number of active people in the group."})


class GroupsSchema(Schema):
    items = fields.List(fields.Nested(GroupWithPeopleSchema), required=True)


PersonPageSchema = page_of(PersonSchema, "PersonPageSchema")
