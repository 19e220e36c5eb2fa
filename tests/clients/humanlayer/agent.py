"""An agent that makes several calls at once. It prints one line of JSON: the result of each call, and what ran."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from humanlayer.core.approval import HumanLayer
from humanlayer.core.async_approval import AsyncHumanLayer
from humanlayer.core.models import ContactChannel, ResponseOption, SlackContactChannel

ran: list[dict[str, object]] = []
channel = ContactChannel(slack=SlackContactChannel(channel_or_user_id="C1", context_about_channel_or_user="finance"))
hl = HumanLayer(run_id="run-7", contact_channel=channel)
reasons = [ResponseOption(name="too_much", title="Too much", prompt_fill="Lower the amount"), ResponseOption(name="no")]


def called(name):
    def function(**arguments: object) -> str:
        ran.append({"name": name, **arguments})
        return f"{name} done"

    function.__name__ = name
    return function


async def refund(order: str) -> str:
    ran.append({"name": "refund", "order": order})
    return "refund done"


calls = {}
for each in sys.argv[1].split(","):
    if each.startswith("ask"):
        answers = [ResponseOption(name="acme", title="ACME")] if each == "ask_options" else None
        calls[each] = partial(hl.human_as_tool(response_options=answers), message=f"{each}?")
    elif each == "refund":
        tool = AsyncHumanLayer(run_id="run-8").require_approval()(refund)
        calls[each] = partial(lambda tool: asyncio.run(tool(order="A-1")), tool)
    else:
        options = reasons if each == "choose" else None
        tool = hl.require_approval(reject_options=options)(called(each))
        calls[each] = partial(tool, to="ACME", amount=9000)

with ThreadPoolExecutor(len(calls)) as pool:
    results = {name: pool.submit(call) for name, call in calls.items()}
print(json.dumps({"results": {name: result.result() for name, result in results.items()}, "ran": ran}))
