"""/v1/people and /v1/groups: the people who may sign in, and the groups that approval policies name."""

from typing import Any

from flask import Response, g

from app.api.paging import list_document, page
from app.deps import deps
from app.http.arguments import Blueprint
from app.http.json_response import created, json_response
from app.notification_channels import check_channels
from app.openapi.operation import idempotent_request, operation
from app.schemas.people import (
    GroupChangeSchema,
    GroupQuery,
    GroupSchema,
    GroupsSchema,
    NewPersonSchema,
    PeopleQuery,
    PersonChangeSchema,
    PersonPageSchema,
    PersonSchema,
    SignedOutSchema,
    SignInLinkSchema,
)
from domain.identity.access import Permission, is_namespace
from domain.values.errors import NotFound
from services.identity import groups as group_cases
from services.identity import people as use_cases
from services.identity.people import PersonChange

people = Blueprint("people", __name__, url_prefix="/v1", description="People who sign in to the dashboard, and groups")
MANAGE = Permission.PEOPLE_MANAGE


@operation(
    people,
    "POST",
    "/people",
    permission=MANAGE,
    body=NewPersonSchema,
    example={"email": "ann@example.com", "name": "Ann Example", "role": "reviewer", "namespaces": ["default"]},
    answers={201: PersonSchema, 200: PersonSchema},
    creates=True,
    refuses=(409, 429),
)
def create_person(body: dict[str, Any]) -> Response:
    """Create a person

    The person signs in by a link, or at the identity provider with the same e-mail address. The role and namespaces
    determine permissions. Approval policies name people by groups and e-mail address.
    """
    check_channels(body.get("channels"))
    return created(*use_cases.create_person(deps().database, g.principal, _change(body), idempotent_request()))


@operation(people, "GET", "/people", permission=MANAGE, query=PeopleQuery, answers={200: PersonPageSchema})
def list_people(query: dict[str, Any]) -> Response:
    """List people, newest first

    With `email`, the list contains only the person with that address.
    """
    part = page(query)
    found = use_cases.list_people(deps().database, g.principal, part, **query)
    return json_response(list_document(found, lambda person: person))


@operation(people, "GET", "/people/<person_id>", permission=MANAGE, answers={200: PersonSchema}, refuses=(404,))
def get_person(person_id: str) -> Response:
    """Read a person

    The response shows channels without their secrets.
    """
    return json_response(use_cases.get_person(deps().database, g.principal, person_id))


@operation(
    people,
    "PATCH",
    "/people/<person_id>",
    permission=MANAGE,
    body=PersonChangeSchema,
    example={"disabled": True},
    answers={200: PersonSchema},
    refuses=(404, 409, 429),
)
def change_person(body: dict[str, Any], person_id: str) -> Response:
    """Change, disable or enable a person

    Omitted fields stay. Disabling a person ends their sessions and removes them from the eligible voters.
    """
    check_channels(body.get("channels"))
    return json_response(use_cases.change_person(deps().database, g.principal, person_id, _change(body)))


@operation(
    people, "POST", "/people/<person_id>/link", permission=MANAGE, answers={200: SignInLinkSchema}, refuses=(404, 409)
)
def make_sign_in_link(person_id: str) -> Response:
    """Create a sign-in link

    The link signs the person in once, and only this response shows it. Earlier links expire.
    """
    return json_response(use_cases.make_sign_in_link(deps().database, g.principal, person_id))


@operation(
    people, "POST", "/people/<person_id>/sign-out", permission=MANAGE, answers={200: SignedOutSchema}, refuses=(404,)
)
def sign_out_person(person_id: str) -> Response:
    """End all sessions of a person

    This signs the person out in all browsers.
    """
    return json_response(use_cases.sign_out_everywhere(deps().database, g.principal, person_id))


@operation(people, "GET", "/groups", permission=MANAGE, answers={200: GroupsSchema})
def list_groups() -> Response:
    """List all groups by name

    Each group has the number of its people.
    """
    return json_response({"items": group_cases.list_groups(deps().database)})


@operation(
    people,
    "PUT",
    "/groups/<group_name>",
    permission=MANAGE,
    body=GroupChangeSchema,
    query=GroupQuery,
    example={"description": "reads contracts"},
    answers={200: GroupSchema},
    refuses=(404, 409),
)
def put_group(query: dict[str, Any], body: dict[str, Any], group_name: str) -> Response:
    """Create or change a group

    Approval policies refer to groups by name. Add people by changing each person. The group's channels receive messages
    about its reviews, without a link that signs anyone in. With `new=true`, an existing group gives 409.
    """
    if not is_namespace(group_name):
        raise NotFound("a group's name has 1 to 63 lowercase letters, digits and hyphens")
    channels = None if "channels" not in body else tuple(body["channels"])
    check_channels(channels)
    document = group_cases.put_group(
        deps().database, g.principal, group_name, body["description"], channels, new=query["new"]
    )
    return json_response(document)


@operation(people, "DELETE", "/groups/<group_name>", permission=MANAGE, answers={204: None}, refuses=(404,))
def delete_group(group_name: str) -> Response:
    """Delete a group

    Its people leave the group. Reviews that only this group may decide wait until their time limit.
    """
    group_cases.delete_group(deps().database, g.principal, group_name)
    return Response(status=204)


def _change(body: dict[str, Any]) -> PersonChange:
    found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    return PersonChange(**found)
