"""`openai_agents_agent.py FOLDER [async]`: one turn of an agent, continued in each process that gets the same folder.

The environment has the model's tool calls (CALLS), and the step at which to die (DIE_AT).
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from agents import Agent, Runner, RunState, function_tool, set_tracing_disabled
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from mortal import AsyncClient, Client, die_at
from sagahold.adapters import Options
from sagahold.adapters.openai_agents import arequest_approvals, aresume, request_approvals, resume

FOLDER = Path(sys.argv[1])
STATE = FOLDER / "state.json"
CALLS = json.loads(os.environ.get("CALLS", '[{"order": "A-1", "cents": 12900}]'))
OPTIONS = Options(expires_in=json.loads(os.environ.get("EXPIRES_IN", "3600")))


def think(call: Any) -> Any:
    """Ask for the tool calls, and repeat their results."""
    results = [item["output"] for item in call.input if isinstance(item, dict) and "output" in item]
    if results:
        return [assistant_message(" | ".join(map(str, results)))]
    return [function_call("refund", args, call_id=f"call-{n}") for n, args in enumerate(CALLS)]


@function_tool(needs_approval=True)
def refund(order: str, cents: int) -> str:
    """Refund an order."""
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{order} {cents}\n")
    die_at(f"inside-{order}")
    return f"refunded {cents} for {order}"


set_tracing_disabled(True)
agent = Agent("refunds", tools=[refund], model=ScriptedModel([ModelStep.respond(think)] * 2))


def save(result: Any) -> Any:
    """Save the run if it waits. Return its output if it has ended."""
    if result.interruptions:
        STATE.write_text(result.to_state().to_string())
        return None
    return result.final_output


def main() -> None:
    output = None if STATE.exists() else save(Runner.run_sync(agent, "Refund."))
    with Client() as client:
        while output is None:
            state = asyncio.run(RunState.from_string(agent, STATE.read_text()))
            request_approvals(state, thread="ticket-7", options=OPTIONS, client=client)
            output = save(resume(agent, state, thread="ticket-7", client=client))
    print(output)


async def amain() -> None:
    output = None if STATE.exists() else save(await Runner.run(agent, "Refund."))
    async with AsyncClient() as client:
        while output is None:
            state = await RunState.from_string(agent, STATE.read_text())
            await arequest_approvals(state, thread="ticket-7", options=OPTIONS, client=client)
            output = save(await aresume(agent, state, thread="ticket-7", client=client))
    print(output)


if __name__ == "__main__":
    if sys.argv[2:]:
        asyncio.run(amain())
    else:
        main()
