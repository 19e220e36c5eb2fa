"""Several agents at once, each with a task of its own. It prints one line of JSON: the result of each task."""

import asyncio
import json
import sys
from typing import Literal

from awaithumans import await_human
from pydantic import BaseModel


class Refund(BaseModel):
    order: str
    cents: int


class Decision(BaseModel):
    approved: bool
    reason: str | None = None


class Limit(BaseModel):
    approve: bool
    limit: int


class Label(BaseModel):
    """A form without a decision."""

    label: Literal["invoice", "letter"]
    blocked: bool


FORMS = {"limit": Limit, "limit_reject": Limit, "label": Label, "label_reject": Label}


async def ask(name: str) -> str:
    try:
        answer = await await_human(
            task=name,
            payload_schema=Refund,
            payload=Refund(order="A-1", cents=100),
            response_schema=FORMS.get(name, Decision),
            timeout_seconds=900,
            idempotency_key=f"{name}-1",
            notify=["slack:#ops"],
            task_metadata={"thread_id": "t1"},
        )
        return answer.model_dump_json()
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]


async def main() -> None:
    names = sys.argv[1].split(",")
    print(json.dumps(dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))))


asyncio.run(main())
