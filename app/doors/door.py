"""The common part of all doors: guarded routes, errors in the client's own shape, and one pause for each request."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from types import MappingProxyType
from typing import Any, get_args

from flask import Blueprint, Request, Response, g, request

from app.deps import deps
from app.http import problems
from app.http.auth import authorize
from app.http.creation import create_pause
from app.http.json_body import read_json
from app.http.problems import RefusedError
from domain.identity.access import Permission, Principal
from domain.pauses.creation import PauseRequest
from domain.pauses.door import PATTERN, door_of
from domain.pauses.pause import Pause
from domain.pauses.serialization import pause_id
from domain.values import canonical_json
from domain.values.errors import Conflict, FieldError, IdempotencyKeyReused, Invalid, NotFound
from services.kernel.idempotency import IdempotentRequest
from services.pauses.execution import consume_pause, door_key
from services.pauses.lifecycle import find_own_pause, get_pause

# Seconds in which an approval may be used: an agent that waits uses it at once, and one that died may be restarted.
VALID_FOR = 900
# The characters of an id, as in the API.
MAX_EXTERNAL_ID = 200

_TAKEN = "the id {!r} belongs to another request: use a new id for each request"
View = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a door reports it. `detail` says what was wrong and what to do."""

    status: int
    code: str
    detail: str


class Door(Blueprint):
    """The routes of one client's protocol.

    Args:
        name: the value of `metadata.door` in the pauses that come through this door.
        url_prefix: the path that the client gets as a part of its base URL.
        problem_document: make the body of an error in the client's own shape.
        names: the client's names of a pause's fields, for errors, such as `{"expiresIn": "timeout"}`.
        identify: find the caller of a client that sends no key.
        key_header: the header in which the client sends its key; None means `Authorization`.
        statuses: statuses of errors that the protocol does not have, with those that it has instead.
    """

    def __init__(
        self,
        name: str,
        url_prefix: str,
        problem_document: Callable[[Problem], Any],
        statuses: Mapping[int, int] = MappingProxyType({}),
        key_header: str | None = None,
        names: Mapping[str, str] = MappingProxyType({}),
        identify: Callable[[Request], Principal] | None = None,
    ) -> None:
        if door_of({"door": name}) is None:
            raise ValueError(f"the door {name!r} needs a name that matches {PATTERN}")
        super().__init__(name.replace("-", "_"), __name__, url_prefix=url_prefix)
        self.door = name
        self._problem_document = problem_document
        self._statuses = statuses
        self._key_header = key_header
        self._names = names
        self._identify = identify
        for kind in get_args(RefusedError):
            self.register_error_handler(kind, self.refuse)

    def operation(self, method: str, path: str, permission: Permission) -> Callable[[View], View]:
        """Register the view for callers with the permission. The view receives the path's parts by name."""

        def decorate(view: View) -> View:
            @wraps(view)
            def guarded(**parts: str) -> Response:
                if self._key_header is not None and (key := request.headers.get(self._key_header)) is not None:
                    # Where each later check finds it too.
                    request.environ["HTTP_AUTHORIZATION"] = f"Bearer {key}"
                authorize(request, permission, self._identify)
                return view(**parts)

            guarded.permission = permission  # type: ignore[attr-defined]
            self.route(path, methods=[method])(guarded)
            return view

        return decorate

    def hold(self, external_id: str | None, submission: dict[str, Any], **wanted: Any) -> tuple[Pause, bool]:
        """Return the caller's pause for this request of its client, and whether it was there before.

        Args:
            external_id: the client's own id of the request, unique for this key and door. None makes a new pause.
            submission: what the client sent, as the page shows it and as the door may echo it.
            wanted: the fields of `PauseRequest`.

        Raises:
            Conflict: the key has used this id for another request.
        """
        earlier = None if external_id is None else self.find(external_id)
        if earlier is not None:
            if canonical_json.digest((earlier.metadata or {}).get("submission")) != canonical_json.digest(submission):
                raise Conflict(_TAKEN.format(external_id))
            return earlier, True
        wanted.setdefault("namespace", g.principal.own_namespace)
        wanted.setdefault("approval_valid_for", VALID_FOR)
        if "expires" not in wanted:
            wanted |= {"expires": timedelta(seconds=deps().pause_expires_in), "expires_by_default": True}
        metadata = {**wanted.pop("metadata", {}), "door": self.door, "submission": submission}
        pause = PauseRequest(external_id=external_id, metadata=metadata, **wanted)
        once = None
        if external_id is not None:
            # The key closes the gap between two requests at once; later repetitions find the pause itself.
            key = hashlib.sha256(f"{self.door}\n{g.principal.id}\n{external_id}".encode()).hexdigest()
            once = IdempotentRequest(key, canonical_json.digest(submission))
        try:
            made = create_pause(pause, once)
        except IdempotencyKeyReused:
            raise Conflict(_TAKEN.format(external_id)) from None
        return get_pause(deps().database, g.principal, pause_id(made.document["watchId"])), made.repeated

    def find(self, external_id: str) -> Pause | None:
        """Return the pause that the caller created through this door under its own id."""
        if len(external_id) > MAX_EXTERNAL_ID or any(canonical_json.text_errors(external_id, "id")):
            return None
        return find_own_pause(deps().database, g.principal, self.door, external_id)

    def pause(self, external_id: str) -> Pause:
        """Return the same pause. Raise `NotFound` if there is none."""
        found = self.find(external_id)
        if found is None:
            raise NotFound(f"there is no request {external_id!r} that this key has made here")
        return found

    def use(self, pause: Pause, arguments: dict[str, Any] | None = None) -> None:
        """Use the approval for a client that has no request for this. A repetition has the same result.

        Args:
            arguments: what the client is going to execute.

        Raises:
            ExecutionConflict: the client must not execute the action, or not any more.
        """
        digest = None if arguments is None else canonical_json.digest(arguments).hex()
        consume_pause(deps().database, g.principal, pause.id, door_key(self.door), digest, only_valid=True)

    def refuse(self, error: RefusedError) -> Response:
        """Return the error in the client's own shape."""
        if isinstance(error, Invalid):
            error.field_errors = tuple(replace(each, path=self._name_of(each.path)) for each in error.field_errors)
        standard = problems.response_to(error)
        found = json.loads(standard.get_data())
        status = self._statuses.get(standard.status_code, standard.status_code)
        problem = Problem(status, found["code"], found["detail"])
        kept = {name: value for name, value in standard.headers if name in ("Retry-After", "WWW-Authenticate", "Allow")}
        body = canonical_json.encode(self._problem_document(problem))
        return Response(body, problem.status, kept, content_type="application/json")

    def _name_of(self, path: str) -> str:
        """Return the path with the client's name of its first part."""
        for own, name in self._names.items():
            if path == own or path.startswith((f"{own}.", f"{own}[")):
                return name + path[len(own) :]
        return path


def read_object(*, required: bool = True, exact: bool = False) -> dict[str, Any]:
    """Return the JSON object in the request's body. Raises `HTTPProblem`, or `Invalid` if it is no object.

    `exact`: return a number that no double holds as its text, instead of refusing or rounding it.
    """
    value = read_json(request, required=required, exact=exact)
    if not isinstance(value, dict):
        raise Invalid([FieldError("", "must be a JSON object")])
    return value
