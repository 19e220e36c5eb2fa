"""What is under review, against what a reviewer says of it: the revision read, arguments edited, an answer given."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from domain.values import canonical_json, json_schema
from domain.values.errors import Fault, Invalid, RevisionChanged, RevisionRequired

if TYPE_CHECKING:
    from domain.pauses.pause import Pause


def edited(pause: "Pause", arguments: dict[str, Any] | None) -> "Pause":
    """With these arguments, and for them a new revision; as it is where they are none, or mean the same."""
    if arguments is None:
        return pause
    if pause.arguments is None:
        raise Invalid([Fault("arguments", "cannot be edited: the agent posted none")])
    if pause.arguments_schema is not None:
        found = list(json_schema.value_faults(pause.arguments_schema, arguments, "arguments"))
        if found:
            raise Invalid(found)
    digest = canonical_json.digest(arguments)
    if digest == pause.arguments_digest:
        return pause
    posted = pause.arguments if pause.posted_arguments is None else pause.posted_arguments
    edit = replace(pause, arguments=arguments, arguments_digest=digest, posted_arguments=posted)
    return replace(edit, revision=pause.revision + 1)


def check_revision(pause: "Pause", revision: int | None) -> None:
    """A decision without a revision is on the first: a later one may be what its sender has never seen."""
    if revision is None and pause.revision > 1:
        raise RevisionRequired
    if revision is not None and revision != pause.revision:
        raise RevisionChanged


def check_answer(schema: dict[str, Any] | None, response: object, *, required: bool, unasked: bool = False) -> None:
    """`unasked`: an answer is fine although no schema asks for one."""
    if schema is None:
        if response is not None and not unasked:
            raise Invalid([Fault("response", "is not asked for: the pause has no responseSchema")])
    elif response is None and required and any(json_schema.value_faults(schema, None, "response")):
        raise Invalid([Fault("response", "is required: the pause has a responseSchema")])
    elif response is not None and (found := list(json_schema.value_faults(schema, response, "response"))):
        raise Invalid(found)
