"""The extension `io.modelcontextprotocol/tasks`, and the end of a wait by the client."""

import asyncio
import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Request, RequestParams, Result

from cli.devstack import Stack
from cli.devstack.waiting import wait_until
from tests.clients.desk import WITHIN, Desk
from tests.clients.mcp.wire import META, VERSIONS, Post, error, rpc

TASKS = "io.modelcontextprotocol/tasks"
DECLARED = {**META, "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}
Send = Callable[..., httpx.Response]
# More than WITHIN, which has to end first.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def declared(post: Post) -> Send:
    """Send a request of a client that declares the extension."""

    def send(method: str, headers: dict[str, str | None] | None = None, **params: Any) -> httpx.Response:
        message = rpc(method, **params)
        message["params"]["_meta"] = DECLARED
        return post(message, headers=headers)

    return send


def result(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["result"]
    return found


def ask(send: Send, tool: str = "request_approval", **arguments: Any) -> dict[str, Any]:
    arguments = arguments or {"action": "Refund", "arguments": {"cents": 500}}
    return result(send("tools/call", name=tool, arguments=arguments))


def test_a_request_is_a_task_until_it_is_decided(declared: Send, desk: Desk) -> None:
    task = ask(declared)
    (pause,) = desk.pending()
    assert (task["resultType"], task["taskId"], task["status"]) == ("task", pause["watchId"], "working")
    assert (task["createdAt"], task["lastUpdatedAt"], task["ttlMs"]) == (pause["createdAt"], pause["createdAt"], None)
    assert pause["reviewUrl"] in task["statusMessage"]
    working = result(declared("tasks/get", taskId=task["taskId"]))
    assert {**working, "resultType": "task"} == task
    desk.decide("approve", arguments={"cents": 400})
    done = result(declared("tasks/get", taskId=task["taskId"]))
    assert (done["resultType"], done["status"], done["lastUpdatedAt"] > task["createdAt"]) == (
        "complete",
        "completed",
        True,
    )
    decided = done["result"]["structuredContent"]
    assert (decided["approved"], decided["edited"]) == (True, True)
    assert decided["decision"]["arguments"] == {"cents": 400}
    # A decided request needs no task.
    assert ask(declared, "wait_for_decision", watchId=task["taskId"])["structuredContent"] == decided


@pytest.mark.parametrize("verdict", ["reject", "expire"])
def test_a_task_without_approval_is_completed_too(declared: Send, desk: Desk, verdict: str) -> None:
    expires = {"expires_in": 1} if verdict == "expire" else {}
    task_id = ask(declared, action="Refund", **expires)["taskId"]
    if verdict == "reject":
        desk.decide("reject", comment="no")

    def task() -> dict[str, Any]:
        return result(declared("tasks/get", taskId=task_id))

    assert wait_until(lambda: task()["status"] == "completed", WITHIN)
    found = task()["result"]
    assert (found["isError"], found["structuredContent"]["approved"]) == (False, False)


def test_a_cancelled_task_takes_the_request_back(declared: Send, desk: Desk) -> None:
    task_id = ask(declared)["taskId"]
    for _ in range(2):
        assert result(declared("tasks/cancel", taskId=task_id))["resultType"] == "complete"
    assert result(declared("tasks/get", taskId=task_id))["status"] == "cancelled"
    (pause,) = desk.all()
    assert pause["status"] == "cancelled"
    decided = ask(declared)["taskId"]
    desk.decide("approve")
    result(declared("tasks/cancel", taskId=decided))
    assert result(declared("tasks/get", taskId=decided))["status"] == "completed"


def test_an_answer_of_the_agents_side_decides_nothing(declared: Send, desk: Desk) -> None:
    task_id = ask(declared)["taskId"]
    answers = {"decision": {"action": "accept", "content": {"approved": True, "decision": "approve"}}}
    result(declared("tasks/update", taskId=task_id, inputResponses=answers))
    assert result(declared("tasks/get", taskId=task_id))["status"] == "working"
    retried = declared(
        "tools/call", name="get_decision", arguments={"watchId": task_id}, inputResponses=answers, requestState="x"
    )
    assert result(retried)["structuredContent"]["approved"] is None
    (pause,) = desk.all()
    assert pause["status"] == "pending"


def test_only_a_client_that_declares_the_extension_gets_a_task(declared: Send, post: Post) -> None:
    message = rpc("tools/call", name="request_approval", arguments={"action": "Refund", "wait_seconds": 0})
    held = post(message).json()["result"]["structuredContent"]
    assert held["status"] == "pending"
    for method in ("tasks/get", "tasks/cancel", "tasks/update"):
        document = error(post(rpc(method, taskId=held["watchId"])), 400, -32021)
        assert document["error"]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        for version in VERSIONS[1:]:
            error(post(rpc(method, version, taskId=held["watchId"]), version), 200, -32601)
    # `wait_seconds: 0` asks for no wait, and so for no task.
    assert ask(declared, action="Refund", wait_seconds=0)["structuredContent"]["status"] == "pending"
    assert ask(declared, "ask_human", question="Why?")["resultType"] == "task"


def test_a_task_belongs_to_the_key_that_made_it(
    declared: Send, desk: Desk, client_for: Callable[..., httpx.Client]
) -> None:
    task_id = ask(declared)["taskId"]
    for other in (client_for("agent"), client_for("admin")):
        key: dict[str, str | None] = {"Authorization": other.headers["Authorization"]}
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            error(declared(method, headers=key, taskId=task_id), 400, -32602)
    for unknown in ("x", "", "wch_" + "0" * 32, "\u00e9" * 9):
        headers: dict[str, str | None] = {"Mcp-Name": f"=?base64?{_base64(unknown)}?="}
        error(declared("tasks/get", headers=headers, taskId=unknown), 400, -32602)
    error(declared("tasks/get"), 400, -32602)
    (pause,) = desk.all()
    assert pause["status"] == "pending"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class _Task(Result):
    result_type: Literal["task"] = "task"
    task_id: str


class _TaskState(Result):
    status: str
    result: dict[str, Any] | None = None


class _Params(RequestParams):
    task_id: str


class _Tasks(ClientExtension):
    """A host's part of the extension: ask again until the task has ended."""

    identifier = TASKS

    def __init__(self, decide: Callable[[], object]) -> None:
        self._decide = decide

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=_Task, resolve=self._resolve)]

    async def _resolve(self, task: _Task, context: ClaimContext) -> CallToolResult:
        await asyncio.to_thread(self._decide)
        params = _Params(task_id=task.task_id)
        for _ in range(100):
            request: Request[_Params, str] = Request(method="tasks/get", params=params)
            state = await context.session.send_request(request, _TaskState)
            if state.status == "completed":
                return CallToolResult.model_validate(state.result)
            await asyncio.sleep(1)  # as the host polls
        raise TimeoutError


def test_a_client_with_the_extension_gets_the_decision_as_the_result(desk: Desk) -> None:
    async def main() -> CallToolResult:
        headers = {"Authorization": f"Bearer {desk.agent_key}"}
        server = streamable_http_client(f"{desk.url}/mcp", http_client=httpx2.AsyncClient(headers=headers, timeout=70))
        async with Client(server, extensions=[_Tasks(lambda: desk.decide("approve"))]) as client:
            return await client.call_tool("request_approval", {"action": "Refund"})

    found = asyncio.run(main())
    assert isinstance(found.structured_content, dict)
    assert found.structured_content["approved"] is True


def test_a_cancelled_call_ends_its_wait_and_not_the_request(post: Post, desk: Desk, held: Callable[[], float]) -> None:
    """By a notification, of a version with sessions and of the program `sagahold mcp`."""
    begun = post(rpc("initialize", VERSIONS[1], protocolVersion=VERSIONS[1], clientInfo={}), VERSIONS[1])
    session: dict[str, str | None] = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
    for version in VERSIONS:
        call = rpc("tools/call", version, name="request_approval", arguments={"action": "Refund", "wait_seconds": 50})
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(post, call, version, session)
            assert wait_until(lambda: held() == 1, WITHIN)
            for other, id_ in (("x", 7), (session["Mcp-Session-Id"], 8), (session["Mcp-Session-Id"], [7])):
                assert _cancel(post, version, other, id_).status_code == 202
            assert not waiting.done()
            assert _cancel(post, version, session["Mcp-Session-Id"], 7).status_code == 202
            sign_of_life, _, last = waiting.result(WITHIN).text.rpartition("data: ")
            assert sign_of_life.startswith(": waiting\n\n")
            assert json.loads(last)["result"]["structuredContent"]["status"] == "pending"
    assert len(desk.pending(3)) == 3


def _cancel(post: Post, version: str, session: str | None, id_: Any) -> httpx.Response:
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
    return post(message, version, {"Mcp-Session-Id": session})


def test_a_revoked_key_ends_its_wait(
    desk: Desk, post: Post, held: Callable[[], float], client_for: Callable[..., httpx.Client], stack: Stack
) -> None:
    call = rpc("tools/call", name="request_approval", arguments={"action": "Refund", "wait_seconds": 50})
    admin = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(post, call)
        (pause,) = desk.pending()
        assert wait_until(lambda: held() == 1, WITHIN)
        httpx.post(f"{desk.url}/v1/keys/{pause['createdBy']}/revoke", headers=admin).raise_for_status()
        # The process remembers a key for some seconds.
        assert wait_until(lambda: post(rpc("tools/list")).status_code == 401, WITHIN)
        desk.decide("approve")
        last = json.loads(waiting.result(WITHIN).text.rpartition("data: ")[2])
    assert last["error"]["message"].startswith("UNAUTHENTICATED")
