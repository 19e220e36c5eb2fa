"""The approval cycle on DBOS: a held step is a workflow that receives, a decision is a message to it."""

import os
from typing import Any

from dbos import DBOS, SetWorkflowID
from telling import DONE, HELD, RESUMED, application, nothing, tell

# Longer than any run. Seconds.
PATIENCE = 86_400
DBOS(
    config={
        "name": "bench",
        "system_database_url": os.environ["DATABASE_URL"],
        "log_level": "WARNING",
        # A fixed executor and version, so that a restarted process takes up its own workflows.
        "executor_id": "bench",
        "application_version": "1",
    }
)


@DBOS.step()
async def act(number: int) -> int:
    return number


@DBOS.workflow()
async def one(token: str, action: str, context: dict[str, Any]) -> None:
    tell(HELD, token)
    await DBOS.recv_async("decision", timeout_seconds=PATIENCE)
    tell(RESUMED, token)


@DBOS.workflow()
async def three(token: str, action: str, context: dict[str, Any]) -> None:
    await act(1)
    tell(HELD, token)
    await DBOS.recv_async("decision", timeout_seconds=PATIENCE)
    await act(2)
    await act(3)
    tell(DONE, token)


SHAPES = {"one": one, "three": three}


async def start() -> None:
    DBOS.launch()
    await nothing()


async def perform(operation: str, document: dict[str, Any]) -> None:
    if operation == "decide":
        await DBOS.send_async(document["token"], "approve", topic="decision")
        return
    with SetWorkflowID(document["token"]):
        await DBOS.start_workflow_async(SHAPES[operation], document["token"], document["action"], document["context"])


app = application(start, perform)
