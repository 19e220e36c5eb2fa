"""A client that dies by SIGKILL at the step that the environment variable DIE_AT names.

A step is `before-` or `after-` with `request`, `wait`, `consume` or `outcome`, or what an agent names itself.
"""

import os
import signal

import sagahold
from sagahold.protocol import Answer, Call


def die_at(step: str) -> None:
    if step == os.environ.get("DIE_AT"):
        os.kill(os.getpid(), signal.SIGKILL)


def _step(call: Call) -> str | None:
    verb = call.path.removeprefix("/api/pause").rpartition("/")[2] or "request"
    return "wait" if "wait" in call.params else verb if call.method == "POST" else None


class Client(sagahold.Client):
    def _send(self, call: Call) -> Answer:
        die_at(f"before-{_step(call)}")
        answer = super()._send(call)
        die_at(f"after-{_step(call)}")
        return answer


class AsyncClient(sagahold.AsyncClient):
    async def _send(self, call: Call) -> Answer:
        die_at(f"before-{_step(call)}")
        answer = await super()._send(call)
        die_at(f"after-{_step(call)}")
        return answer
