"""Run the example of the package's README, with our base URL and key: `readme_agent.py RUN NOTES`.

With TIMEOUT in the environment it passes that to the gate, which has no other way to be quick.
"""

import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import agentapprovalprotocol

run_id, notes = sys.argv[1], Path(sys.argv[2])


def run_tool(call: SimpleNamespace) -> str:
    if os.environ.get("DIE"):
        os.kill(os.getpid(), 9)
    with notes.open("a") as file:
        file.write(json.dumps(call.args) + "\n")
    return "refunded"


options = json.loads(os.environ.get("GATE", "{}"))
if options:
    gate_class = agentapprovalprotocol.Gate
    agentapprovalprotocol.Gate = lambda client: gate_class(client, **options)
if budget := os.environ.get("BUDGET"):
    client_class = agentapprovalprotocol.Client
    agentapprovalprotocol.Client = lambda url, token: client_class(url, token, retry_budget=float(budget))
readme = str(importlib.metadata.metadata("agentapprovalprotocol").get_payload())
example = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
names = {
    "token": os.environ["SAGAHOLD_API_KEY"],
    "run_id": run_id,
    "tool_call": SimpleNamespace(id="call-1", name="issue_refund", args={"order": "A-1", "cents": 4900}),
    "run_tool": run_tool,
}
exec(example.replace("https://approvals.example.com/api/aap", os.environ["SAGAHOLD_URL"] + "/aap"), names)
print(names["result"])
