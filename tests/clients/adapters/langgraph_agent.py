"""`langgraph_agent.py FOLDER KIND`: one turn of an agent, continued in each process that gets the same folder.

KIND is `batched` or `per_call` (LangChain's middleware), `plain` (a node's own interrupt), or one of them with
`-async`. The environment has the model's tool calls (CALLS), and the step at which to die (DIE_AT).
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from mortal import AsyncClient, Client, die_at
from sagahold.adapters import Options
from sagahold.adapters.langgraph import arequest_approvals, aresume, request_approvals, resume

FOLDER = Path(sys.argv[1])
CALLS = json.loads(os.environ.get("CALLS", '[{"order": "A-1", "cents": 12900}]'))
OPTIONS = Options(expires_in=json.loads(os.environ.get("EXPIRES_IN", "3600")))
CONFIG: Any = {"configurable": {"thread_id": "ticket-7"}}


class Model(GenericFakeChatModel):
    """Asks for the tool calls, and repeats their results."""

    def bind_tools(self, tools: Any, **options: Any) -> "Model":
        return self

    def _generate(self, messages: Any, *rest: Any, **options: Any) -> ChatResult:
        results = [message.text for message in messages if isinstance(message, ToolMessage)]
        calls = [{"name": "refund", "args": args, "id": f"call-{n}"} for n, args in enumerate(CALLS)]
        answer = AIMessage(" | ".join(results)) if results else AIMessage("", tool_calls=calls)
        if results:
            die_at("model")
        return ChatResult(generations=[ChatGeneration(message=answer)])


@tool
def refund(order: str, cents: int) -> str:
    """Refund an order."""
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{order} {cents}\n")
    die_at(f"inside-{order}")
    if cents < 0:
        raise ValueError("the bank is closed")
    return f"refunded {cents} for {order}"


class State(TypedDict, total=False):
    answer: str


def node(state: State) -> State:
    found = interrupt({"action": "Refund an order", "arguments": CALLS[0]})
    return {"answer": refund.invoke(found["arguments"]) if found["type"] != "reject" else found["message"]}


def build(kind: str, saver: Any) -> Any:
    if kind == "plain":
        builder = StateGraph(State)
        builder.add_node("node", node)
        builder.add_edge(START, "node")
        builder.add_edge("node", END)
        return builder.compile(checkpointer=saver)
    middleware: Any = HumanInTheLoopMiddleware({"refund": True}, interrupt_mode=kind)
    return create_agent(Model(messages=iter([])), [refund], middleware=[middleware], checkpointer=saver)


INPUT: Any = {"messages": [("user", "Refund.")], "answer": ""}


def shown(values: Any) -> str:
    return str(values["messages"][-1].text if "messages" in values else values["answer"])


def main(kind: str) -> None:
    with SqliteSaver.from_conn_string(str(FOLDER / "state.db")) as saver, Client() as client:
        graph = build(kind, saver)
        if not graph.get_state(CONFIG).values:
            graph.invoke(INPUT, CONFIG)
        while graph.get_state(CONFIG).next:
            request_approvals(graph, CONFIG, options=OPTIONS, client=client)
            resume(graph, CONFIG, client=client, durability="sync")
        print(shown(graph.get_state(CONFIG).values))


async def amain(kind: str) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(FOLDER / "state.db")) as saver, AsyncClient() as client:
        graph = build(kind, saver)
        if not (await graph.aget_state(CONFIG)).values:
            await graph.ainvoke(INPUT, CONFIG)
        while (await graph.aget_state(CONFIG)).next:
            await arequest_approvals(graph, CONFIG, options=OPTIONS, client=client)
            await aresume(graph, CONFIG, client=client, durability="sync")
        print(shown((await graph.aget_state(CONFIG)).values))


if __name__ == "__main__":
    chosen, _, asynchronous = sys.argv[2].partition("-")
    if asynchronous:
        asyncio.run(amain(chosen))
    else:
        main(chosen)
