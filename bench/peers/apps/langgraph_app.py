"""The approval cycle on LangGraph: a held step is an interrupt, and the request that decides also resumes."""

import os
from typing import Any, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from telling import DONE, HELD, RESUMED, application, tell

# Enough that 16 clients do not queue for one; more does not help on two cores.
CONNECTIONS = 16


class State(TypedDict, total=False):
    token: str
    action: str
    context: dict[str, Any]
    decision: str
    last: int


def held(state: State) -> State:
    decision = interrupt({"action": state["action"], "context": state["context"]})
    tell(RESUMED, state["token"])
    return {"decision": decision}


graphs: dict[str, Any] = {}


async def start() -> None:
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool = AsyncConnectionPool(os.environ["DATABASE_URL"], min_size=4, max_size=CONNECTIONS, open=False, kwargs=options)
    await pool.open()
    saver = AsyncPostgresSaver(pool)
    await saver.setup()
    for name, nodes in (("one", ["held"]), ("three", ["first", "held", "third"])):
        graph = StateGraph(State)
        for number, node in enumerate(nodes):
            graph.add_node(node, held if node == "held" else lambda state, number=number: {"last": number})
        for before, after in zip([START, *nodes], [*nodes, END], strict=True):
            graph.add_edge(before, after)
        graphs[name] = graph.compile(checkpointer=saver)


async def perform(operation: str, document: dict[str, Any]) -> None:
    token = document["token"]
    thread = {"configurable": {"thread_id": token}}
    if operation != "decide":
        await graphs[operation].ainvoke(document, thread, durability="sync")
        tell(HELD, token, operation)
        return
    await graphs[document["shape"]].ainvoke(Command(resume="approve"), thread, durability="sync")
    tell(DONE, token)


app = application(start, perform)
