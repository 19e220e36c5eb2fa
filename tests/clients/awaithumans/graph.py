"""A graph whose node asks a person: `graph.py FILE CALLBACK_URL [BODY SIGNATURE]`.

Without a body, it runs the graph until its interrupt, keeps the state in the file, and ends. With one, it resumes the
graph by this webhook.
"""

import asyncio
import os
import pickle
import sys
from pathlib import Path

from awaithumans.adapters.langgraph import await_human, dispatch_resume
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

file, callback_url, *webhook = Path(sys.argv[1]), *sys.argv[2:]


class Refund(BaseModel):
    order: str


class Decision(BaseModel):
    approved: bool
    note: str | None = None


async def refund(state: dict) -> dict:
    decision = await await_human(
        task="Refund",
        payload_schema=Refund,
        payload=Refund(order=state["order"]),
        response_schema=Decision,
        timeout_seconds=900,
        callback_url=callback_url,
        server_url=os.environ["AWAITHUMANS_URL"],
        api_key=os.environ["AWAITHUMANS_ADMIN_API_TOKEN"],
        idempotency_key="langgraph:t1:refund",
    )
    return {"order": f"{state['order']} {'refunded' if decision.approved else 'kept'}: {decision.note}"}


saver = InMemorySaver()
builder = StateGraph(dict)
builder.add_node("refund", refund)
builder.add_edge(START, "refund")
builder.add_edge("refund", END)
graph = builder.compile(checkpointer=saver)
config = {"configurable": {"thread_id": "t1"}}

if webhook:
    storage, writes, blobs = pickle.loads(file.read_bytes())
    for thread, found in storage.items():
        for name, each in found.items():
            saver.storage[thread][name].update(each)
    saver.writes.update(writes)
    saver.blobs.update(blobs)
    body, signature = webhook
    asyncio.run(dispatch_resume(graph=graph, thread_id="t1", body=body.encode(), signature_header=signature))
    print(graph.get_state(config).values["order"])
else:
    asyncio.run(graph.ainvoke({"order": "A-1"}, config))
    storage = {thread: {name: dict(each) for name, each in found.items()} for thread, found in saver.storage.items()}
    file.write_bytes(pickle.dumps((storage, dict(saver.writes), dict(saver.blobs))))
