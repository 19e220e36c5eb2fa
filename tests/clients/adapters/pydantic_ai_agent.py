"""`pydantic_ai_agent.py FOLDER [async]`: one turn of an agent, continued in each process that gets the same folder.

The environment has the model's tool calls (CALLS), and the step at which to die (DIE_AT).
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from mortal import AsyncClient, Client, die_at
from pydantic import TypeAdapter
from pydantic_ai import Agent, DeferredToolRequests, ModelMessagesTypeAdapter
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel
from sagahold.adapters import Options
from sagahold.adapters.pydantic_ai import arequest_approvals, aresume, request_approvals, resume

FOLDER = Path(sys.argv[1])
CALLS = json.loads(os.environ.get("CALLS", '[{"order": "A-1", "cents": 12900}]'))
OPTIONS = Options(expires_in=json.loads(os.environ.get("EXPIRES_IN", "3600")))
REQUESTS = TypeAdapter(DeferredToolRequests)


def think(messages: Any, info: Any) -> ModelResponse:
    """Ask for the tool calls, and repeat their results."""
    results = [part.content for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
    if results:
        return ModelResponse(parts=[TextPart(" | ".join(results))])
    return ModelResponse(parts=[ToolCallPart("refund", args, f"call-{n}") for n, args in enumerate(CALLS)])


agent = Agent(FunctionModel(think), output_type=[str, DeferredToolRequests])


@agent.tool_plain(requires_approval=True)
def refund(order: str, cents: int) -> str:
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{order} {cents}\n")
    die_at(f"inside-{order}")
    if cents < 0:
        raise ValueError("the bank is closed")
    return f"refunded {cents} for {order}"


def save(result: Any) -> None:
    requests = REQUESTS.dump_python(result.output, mode="json") if not isinstance(result.output, str) else None
    state = {"messages": json.loads(result.all_messages_json()), "requests": requests}
    (FOLDER / "state.json").write_text(json.dumps(state))


def load() -> tuple[list[Any], DeferredToolRequests | None]:
    state = json.loads((FOLDER / "state.json").read_text())
    requests = None if state["requests"] is None else REQUESTS.validate_python(state["requests"])
    return ModelMessagesTypeAdapter.validate_python(state["messages"]), requests


def main() -> None:
    if not (FOLDER / "state.json").exists():
        save(agent.run_sync("Refund."))
    messages, requests = load()
    with Client() as client:
        while requests is not None:
            request_approvals(requests, thread="ticket-7", options=OPTIONS, client=client)
            save(resume(agent, messages, requests, thread="ticket-7", client=client))
            messages, requests = load()
    print(messages[-1].text)


async def amain() -> None:
    if not (FOLDER / "state.json").exists():
        save(await agent.run("Refund."))
    messages, requests = load()
    async with AsyncClient() as client:
        while requests is not None:
            await arequest_approvals(requests, thread="ticket-7", options=OPTIONS, client=client)
            save(await aresume(agent, messages, requests, thread="ticket-7", client=client))
            messages, requests = load()
    print(messages[-1].text)


if __name__ == "__main__":
    if sys.argv[2:]:
        asyncio.run(amain())
    else:
        main()
