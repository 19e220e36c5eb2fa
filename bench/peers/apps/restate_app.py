"""The approval cycle on Restate: a held step is an awakeable, a decision resolves it over the ingress."""

from typing import Any

import restate
from telling import DONE, HELD, RESUMED, tell

cycle = restate.Service("Cycle")


@cycle.handler()
async def one(ctx: restate.Context, wanted: dict[str, Any]) -> str:
    await _decision(ctx, wanted["token"])
    tell(RESUMED, wanted["token"])
    return "done"


@cycle.handler()
async def three(ctx: restate.Context, wanted: dict[str, Any]) -> str:
    await ctx.run_typed("first", lambda: 1)
    await _decision(ctx, wanted["token"])
    await ctx.run_typed("second", lambda: 2)
    await ctx.run_typed("third", lambda: 3)
    tell(DONE, wanted["token"])
    return "done"


async def _decision(ctx: restate.Context, token: str) -> None:
    name, decided = ctx.awakeable(type_hint=str)
    await ctx.run_typed("publish", lambda: tell(HELD, token, name))
    await decided


app = restate.app([cycle])
