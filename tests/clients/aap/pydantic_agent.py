"""A Pydantic AI agent with the package's adapter in async mode: `pydantic_agent.py start|wake - FOLDER [REQUEST]`.

`start` stores the conversation when the adapter pauses, prints the id of the request, and waits to be killed. `wake` is
another process, which continues the stored conversation as the package's receiver does, and prints the tool's result.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from agentapprovalprotocol import AsyncClient, Receiver
from agentapprovalprotocol.pydantic_ai import ApprovalCapability, pending_request_ids, resumer
from pydantic import TypeAdapter
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

URL, KEY = os.environ["SAGAHOLD_URL"] + "/aap", os.environ["SAGAHOLD_API_KEY"]
command, folder = sys.argv[1], Path(sys.argv[3])
stored = TypeAdapter(Conversation)


def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    if len(messages) == 1:
        arguments = {"order": "A-1", "cents": 4900}
        return ModelResponse([TextPart("Charged twice."), ToolCallPart("issue_refund", arguments, tool_call_id="c-1")])
    return ModelResponse([TextPart("Done.")])


approvals = ApprovalCapability(URL, KEY, mode="async")
agent = Agent(FunctionModel(model), capabilities=[approvals], output_type=[str, DeferredToolRequests])


@agent.tool_plain
def issue_refund(order: str, cents: int) -> str:
    with (folder / "notes").open("a") as file:
        file.write(f"{order} {cents}\n")
    return f"refunded {cents} for {order}"


def load(_: str) -> Conversation:
    return stored.validate_json((folder / "conversation.json").read_bytes())


def save(conversation: Conversation) -> None:
    (folder / "conversation.json").write_bytes(stored.dump_json(conversation))


async def main() -> None:
    if command == "start":
        paused = (await agent.run("Refund A-1")).conversation
        save(paused)
        print(*pending_request_ids(paused.deferred_tool_requests).values(), flush=True)
        time.sleep(600)
    receiver = Receiver(client=AsyncClient(URL, KEY), resumers={"pydantic-ai": resumer(agent, load=load, save=save)})
    assert await receiver.wake(sys.argv[4])
    parts = [part for message in load("").messages for part in message.parts if isinstance(part, ToolReturnPart)]
    print(parts[-1].content if parts else "paused")


asyncio.run(main())
