"""An agent that chooses the id of its call, so that it finds the call again after it has been killed."""

import sys
import time

import requests
from humanlayer import FunctionCallSpec, HumanLayer

call_id, amount = sys.argv[1], int(sys.argv[2])
hl = HumanLayer()
spec = FunctionCallSpec(fn="wire_money", kwargs={"to": "ACME", "amount": amount})
call = hl.create_function_call(spec, call_id=call_id)
print("asked", flush=True)
while call.status is None or call.status.approved is None:
    time.sleep(0.2)
    try:
        call = hl.get_function_call(call_id)
    except requests.ConnectionError:
        continue
print(f"wired {amount}" if call.status.approved else f"not wired: {call.status.comment}")
