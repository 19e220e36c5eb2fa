"""An agent with GoHumanLoop's decorators: `agent.py approval|conversation NOTES`."""

import os
import sys
from pathlib import Path
from typing import Any

from gohumanloop.adapters import HumanloopAdapter
from gohumanloop.core.interface import HumanLoopStatus
from gohumanloop.manager.ghl_manager import GoHumanLoopManager

kind, notes = sys.argv[1], Path(sys.argv[2])
# More tries than the default outlast a restart of the server.
manager = GoHumanLoopManager(poll_interval=1, max_retries=int(os.environ.get("TRIES", "3")))
adapter = HumanloopAdapter(manager)
metadata = {"timeout": int(os.environ["TIMEOUT"])} if "TIMEOUT" in os.environ else None


@adapter.require_approval(metadata=metadata)
def wire(to: str, amount: int) -> str:
    with notes.open("a") as file:
        file.write(f"{to} {amount}\n")
    return "sent"


@adapter.require_conversation(task_id="task-1", conversation_id="conversation-1", state_key="topic", ret_key="answer")
def talk(topic: str, answer: Any = None) -> Any:
    return answer


try:
    if kind == "approval":
        print(wire("ACME", amount=9000))
    else:
        status = HumanLoopStatus.INPROGRESS
        while status is HumanLoopStatus.INPROGRESS:
            turn = talk(topic="the vendor")
            status = turn["status"]
            print(status.value, turn["response"]["message"], flush=True)
except ValueError as error:
    print(error)
# The client's threads for polling and for its copy to the server may sleep for long.
sys.stdout.flush()
os._exit(0)
