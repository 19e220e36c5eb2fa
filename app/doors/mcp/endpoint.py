"""`POST /mcp`: the Model Context Protocol over streamable HTTP, translated to the use cases of pauses.

Each request is answered by itself, so any web process can answer it, also after a restart. A call that waits is
answered as a stream if the client takes one: signs of life keep the client from giving up.
"""

import json
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

from flask import Response, g, request, stream_with_context

from app.deps import deps
from app.doors.door import Door, Problem
from app.doors.mcp import messages
from app.doors.mcp.messages import Call, RPCError
from app.doors.mcp.tasks import METHODS as TASK_METHODS
from app.doors.mcp.tasks import new_task, run_task_method
from app.doors.mcp.tool_calls import Wait, decided_result, refusal_result, run_tool
from app.doors.mcp.tool_schemas import INSTRUCTIONS, TOOLS
from app.doors.mcp.waiting import Waits
from app.http.json_body import read_json
from app.http.problems import UNAVAILABLE, HTTPProblem
from domain.identity.access import Permission
from domain.pauses.serialization import review_url
from domain.values.errors import DomainError, Forbidden, Invalid
from domain.values.version import VERSION
from services.kernel.connection_pool import DatabaseUnavailable

SERVER = {"name": "sagahold", "title": "Sagahold", "version": VERSION}
# The lists change only with a release.
CACHED = {"ttlMs": 3_600_000, "cacheScope": "public"}


def _error_document(problem: Problem) -> dict[str, Any]:
    codes = {"MALFORMED_JSON": messages.PARSE_ERROR}
    fallback = messages.INTERNAL_ERROR if problem.status >= 500 else messages.INVALID_REQUEST
    code = codes.get(problem.code, fallback)
    return messages.error(g.get("mcp_request_id"), code, f"{problem.code}: {problem.detail}")


mcp = Door("mcp", "/mcp", _error_document)
waits = Waits()


@mcp.operation("POST", "", Permission.PAUSE_CREATE)
def post_message() -> Response:
    _check_origin()
    try:
        message, invalid = _read()
        g.mcp_request_id = messages.id_of(message)
        call = messages.call_of(message, request)
        if call.id is None:
            return _notified(call)
        return _answered(call) if invalid is None else _refused(call, invalid)
    except RPCError as error:
        return _response(messages.error(g.get("mcp_request_id"), error.code, error.message, error.data), error.status)


def _check_origin() -> None:
    """Refuse pages of other sites, which a rebound name may have led here. Programs send no `Origin`."""
    origin = request.headers.get("Origin")
    own = urlsplit(deps().database.public_url)
    if origin not in (None, f"{request.scheme}://{request.host}", f"{own.scheme}://{own.netloc}"):
        raise Forbidden("pages of other sites may not use this server: leave out the header Origin")


def _read() -> tuple[Any, Invalid | None]:
    """Return the message in the body, and its values that cannot be kept as they are.

    A model may write such a value. The error then has to reach the model under the id of its call.
    """
    try:
        return read_json(request, required=True), None
    except Invalid as invalid:
        try:
            return json.loads(request.get_data()), invalid
        except (ValueError, RecursionError):
            raise invalid from None


def _refused(call: Call, invalid: Invalid) -> Response:
    if call.method == "tools/call":
        return _result(call, refusal_result(invalid))
    first = invalid.field_errors[0]
    raise RPCError(messages.INVALID_PARAMS, f"{first.path}: {first.message}", 400 if call.newest else 200)


def _notified(call: Call) -> Response:
    if call.method == "notifications/cancelled":
        waits.cancel(call.session, call.params.get("requestId"))
    return Response(status=202)


def _answered(call: Call) -> Response:
    match call.method:
        case "initialize" if not call.newest:
            return _initialized(call)
        case "server/discover" if call.newest:
            return _result(call, {"supportedVersions": list(messages.VERSIONS), **_about(call), **CACHED})
        case "ping" if not call.newest:
            return _result(call, {})
        case "tools/list":
            return _result(call, {"tools": list(TOOLS.values()), **(CACHED if call.newest else {})})
        case "tools/call":
            return _tool_called(call)
        case method if method in TASK_METHODS:
            return _result(call, run_task_method(call))
    status = 404 if call.newest else 200
    raise RPCError(messages.METHOD_NOT_FOUND, f"this server has no method {call.method[:100]!r}", status)


def _initialized(call: Call) -> Response:
    response = _result(call, {"protocolVersion": call.version, "serverInfo": SERVER, **_about(call)})
    response.headers[messages.SESSION_HEADER] = messages.new_session(call.client)
    return response


def _about(call: Call) -> dict[str, Any]:
    extensions: dict[str, Any] = {"extensions": {messages.TASKS: {}}} if call.newest else {}
    return {"capabilities": {"tools": {}, **extensions}, "instructions": INSTRUCTIONS}


def _tool_called(call: Call) -> Response:
    name, arguments = call.params.get("name"), call.params.get("arguments")
    status = 400 if call.newest else 200
    if not isinstance(name, str) or name not in TOOLS:
        raise RPCError(messages.INVALID_PARAMS, f"there is no tool {str(name)[:100]!r}: tools/list names them", status)
    if arguments is not None and not isinstance(arguments, dict):
        raise RPCError(messages.INVALID_PARAMS, "`arguments` must be an object", status)
    try:
        found = run_tool(mcp, call, name, arguments or {})
    except DatabaseUnavailable:
        found = _unavailable()
    if not isinstance(found, Wait):
        return _result(call, found)
    if found.as_task and call.tasks:
        return _result(call, new_task(found.pause))
    if "text/event-stream" in request.headers.get("Accept", ""):
        return _stream(call, found)
    return _result(call, _last(_waited(call, found)))


def _unavailable() -> dict[str, Any]:
    text = f"DATABASE_UNAVAILABLE: {UNAVAILABLE}. Do not execute the action."
    return {"content": [{"type": "text", "text": text}], "isError": True}


def _waited(call: Call, wanted: Wait) -> Generator[float, None, dict[str, Any]]:
    try:
        pause = yield from waits.wait(call, wanted)
        return decided_result(pause)
    except DatabaseUnavailable:
        return _unavailable()


def _last(steps: Generator[float, None, dict[str, Any]]) -> dict[str, Any]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: dict[str, Any] = end.value
            return found


def _stream(call: Call, wanted: Wait) -> Response:
    def events() -> Iterator[str]:
        steps = _waited(call, wanted)
        try:
            while True:
                yield _sign_of_life(call, wanted, next(steps))
        except StopIteration as end:
            yield _event(messages.result(call, end.value))
        except (HTTPProblem, DomainError) as error:
            # The response has begun, so its status cannot change any more.
            yield _event(messages.error(call.id, messages.INVALID_REQUEST, f"{error.code}: {error.detail}"))

    headers = {"X-Accel-Buffering": "no"}
    return Response(stream_with_context(events()), content_type="text/event-stream", headers=headers)


def _sign_of_life(call: Call, wanted: Wait, waited: float) -> str:
    if call.progress_token is None:
        return ": waiting\n\n"
    where = review_url(wanted.pause.id, deps().database.public_url)
    progress = {
        "progressToken": call.progress_token,
        "progress": round(waited, 1),
        "total": wanted.seconds,
        "message": f"Waiting for a person, who decides at {where}",
    }
    return _event({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})


def _event(message: dict[str, Any]) -> str:
    return "event: message\n" + f"data: {messages.encode(message)}\n\n"


def _result(call: Call, value: dict[str, Any]) -> Response:
    named = {"_meta": {"io.modelcontextprotocol/serverInfo": SERVER}} if call.newest else {}
    return _response(messages.result(call, {**named, **value}), 200)


def _response(message: dict[str, Any], status: int) -> Response:
    return Response(messages.encode(message), status, content_type="application/json")
