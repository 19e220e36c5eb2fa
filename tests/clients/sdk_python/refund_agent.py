"""`refund_agent.py FILE STEP`: refund once, noted in FILE; die by SIGKILL at STEP.

A step is `before-` or `after-` with `request`, `wait`, `consume` or `outcome`, or `inside` the function.
"""

import os
import signal
import sys
import time
from pathlib import Path

import sagahold
from sagahold.protocol import Answer, Call

file, step = Path(sys.argv[1]), sys.argv[2]


def die_at(here: str) -> None:
    if here == step:
        os.kill(os.getpid(), signal.SIGKILL)


class Mortal(sagahold.Client):
    def _send(self, call: Call) -> Answer:
        verb = call.path.removeprefix("/api/pause").rpartition("/")[2] or "request"
        verb = "wait" if "wait" in call.params else verb
        die_at(f"before-{verb}" if call.method == "POST" or verb == "wait" else "")
        answer = super()._send(call)
        die_at(f"after-{verb}" if call.method == "POST" or verb == "wait" else "")
        return answer


@sagahold.require_approval(
    action="Refund {cents} for {order}", key=lambda order, **_: order, valid_for=None, client=Mortal()
)
def refund(order: str, cents: int) -> None:
    with file.open("a") as notes:
        notes.write(f"{order} {cents}\n")
    die_at("inside")
    while step == "slow" and not file.with_suffix(".go").exists():
        time.sleep(0.05)


if __name__ == "__main__":
    try:
        refund("A-1", 12_900)
    except sagahold.SagaholdError as error:
        print(type(error).__name__, error)
    else:
        print("done")
