"""Round trips of real clients through their doors, one at a time. Seconds.

Each client is a process, so that it does not share the interpreter of the reviewer. It writes `asks WATCH_ID` as soon
as it knows the id, and `took SECONDS` at the end of the round trip.
"""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from bench.subject import Subject
from bench.wire import BenchError, Connection

ROOT = Path(__file__).parents[1]
# By figure, the module of the client.
CLIENTS = {
    "SDK: request → approval → use → outcome": "bench.sdk_agent",
    "MCP: tool call → decision": "bench.mcp_agent",
}
# The first round trips open connections and load modules.
WARM_UP = 3


def round_trips(subject: Subject, module: str, samples: int) -> list[float]:
    """Approve each request as soon as it is there; return the time of each round trip."""
    took = []
    with closing(Connection(subject.server)) as reviewer, _start(subject, module, WARM_UP + samples) as client:
        assert client.stdout is not None
        for line in client.stdout:
            word, value = line.split()
            if word == "asks":
                reviewer.call(subject.approval(value))
            else:
                took.append(float(value))
    if client.returncode or len(took) != WARM_UP + samples:
        raise BenchError(f"{module} ended with status {client.returncode} after {len(took)} round trips")
    return took[WARM_UP:]


def _start(subject: Subject, module: str, number: int) -> "subprocess.Popen[str]":
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "sdk/python/src"),
        "SAGAHOLD_URL": subject.server.url,
        "SAGAHOLD_API_KEY": subject.agent,
    }
    command = [sys.executable, "-m", module, str(number)]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
