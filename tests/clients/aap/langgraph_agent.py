"""A LangGraph agent with the package's adapter in async mode: `langgraph_agent.py start|wake THREAD FOLDER [REQUEST]`.

`start` runs until the adapter pauses, prints the id of the request, and waits to be killed. `wake` is another process,
which continues the stored thread as the package's receiver does, and prints the tool's result.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from agentapprovalprotocol import AsyncClient, Receiver
from agentapprovalprotocol.langgraph import ApprovalMiddleware, resumer
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

URL, KEY = os.environ["SAGAHOLD_URL"] + "/aap", os.environ["SAGAHOLD_API_KEY"]
command, thread, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])


@tool
def issue_refund(order: str, cents: int) -> str:
    """Refund an order."""
    with (folder / "notes").open("a") as file:
        file.write(f"{order} {cents}\n")
    return f"refunded {cents} for {order}"


class Model(FakeMessagesListChatModel):
    """A model that asks for one tool call, and then answers."""

    def bind_tools(self, *_: Any, **__: Any) -> "Model":
        return self


def agent_with(checkpointer: AsyncSqliteSaver) -> Any:
    call = {"name": "issue_refund", "args": {"order": "A-1", "cents": 4900}, "id": "call-1"}
    asks = AIMessage("The customer was charged twice.", tool_calls=[call])
    answers = [asks, AIMessage("Done.")] if command == "start" else [AIMessage("Done.")]
    approvals = ApprovalMiddleware(URL, KEY, mode="async")
    return create_agent(Model(responses=answers), [issue_refund], middleware=[approvals], checkpointer=checkpointer)


async def main() -> None:
    config = {"configurable": {"thread_id": thread}}
    async with AsyncSqliteSaver.from_conn_string(str(folder / "threads.sqlite")) as checkpointer:
        agent = agent_with(checkpointer)
        if command == "start":
            messages = {"messages": [{"role": "user", "content": "Refund A-1"}]}
            paused = await agent.ainvoke(messages, config)
            print(paused["__interrupt__"][0].value["aap_request_id"], flush=True)
            time.sleep(600)
        receiver = Receiver(client=AsyncClient(URL, KEY), resumers={"langgraph": resumer(agent)})
        assert await receiver.wake(sys.argv[4])
        state = await agent.aget_state(config)
        results = [each.content for each in state.values["messages"] if isinstance(each, ToolMessage)]
        print(results[0] if results else "paused")


asyncio.run(main())
