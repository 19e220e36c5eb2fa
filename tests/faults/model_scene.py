"""A saga scene whose steps think: the model is a provider's server that says what is planned for each customer."""

import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cli.devstack import Stack
from tests.adapters.llm.server import LlmServer
from tests.adapters.llm.wire import After, Asked, Reply, submit
from tests.adapters.odd_server import lines
from tests.faults.saga_scene import SagaScene, step, undo
from tests.faults.scene import PATIENCE, until

STRANGER = Path(__file__).parents[1] / "adapters" / "mcp_servers" / "thinking.py"
COUNTED = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FIRST = "$.input.first"
# Longer than any of these tests, because the test decides when the model answers. Seconds.
THINK_SECONDS = 300


def counted(time: int) -> Reply:
    return submit({"n": time})


def after(event: threading.Event) -> Callable[[int], Reply]:
    return lambda time: After(event, counted(time))


class Mind:
    """The model.

    Attributes:
        server: where it is asked.
    """

    def __init__(self) -> None:
        self._turns: dict[str, tuple[Reply, ...]] = {}
        self._answers: dict[str, Callable[[int], Reply]] = {}
        self._asked: Counter[tuple[str, int]] = Counter()
        self.server = LlmServer(by=self._reply)

    def plan(self, customer: str, *turns: Reply, answer: Callable[[int], Reply] = counted) -> None:
        """Set the model's replies about that customer: these turns, then `answer`, which receives its call count."""
        self._turns[customer], self._answers[customer] = turns, answer

    def asked(self, customer: str, turn: int = 0) -> int:
        """How often the request of that turn came; of turn 0: how often it began to think."""
        return self._asked[customer, turn]

    def requests(self, customer: str) -> list[Asked]:
        return [asked for asked in list(self.server.asked) if _customer(asked) == customer]

    def _reply(self, asked: Asked) -> Reply:
        customer, turn = _customer(asked), len(asked.results)
        self._asked[customer, turn] += 1
        turns = self._turns.get(customer, ())
        if turn < len(turns):
            return turns[turn]
        return self._answers.get(customer, counted)(self._asked[customer, turn])


def _customer(asked: Asked) -> str:
    found = re.search("<(.+?)>", asked.user[0])
    assert found is not None, asked.user
    return found[1]


class ModelScene(SagaScene):
    """Every saga has three steps: `one` charges the first customer and can be undone, `two` thinks about the other,
    `three` charges that one."""

    def __init__(self, stack: Stack, mind: Mind) -> None:
        super().__init__(stack)
        self.mind = mind
        self._notes = Path(self._stack.enter_context(TemporaryDirectory())) / "called"
        stranger = {"name": "stranger", "transport": "stdio", "command": sys.executable, "args": [str(STRANGER)]}
        sources = [self.sources["ledger"], stranger | {"env": {"CALLED": str(self._notes)}}]
        self.deploy({"kind": "worker", "name": "mind", "provider": "local", "model_name": "m", "tool_sources": sources})

    def deploy_reasoning(self, name: str, *tools: str, **more: Any) -> None:
        """A saga of that name. Without tools the step is a simple one."""
        common = {"id": "two", "name": "two", "kind": "reason", "worker": "mind", "worker_version": "1"}
        asks = {"prompt": {"inline": "About <{{ customer }}>."}, "with": {"customer": {"from": "$.input.customer"}}}
        manner: dict[str, Any] = {"agent-adapter": "simple", "output_schema": COUNTED, "timeout_seconds": THINK_SECONDS}
        manner |= {"agent-adapter": "react", "tools": {"allow": list(tools)}} if tools else {}
        one = step("one", "charge", FIRST, **undo("reverse", FIRST))
        self.deploy_saga(name, one, common | asks | manner | more, step("three", "charge"))

    def start_model_request(self, name: str, customer: str) -> str:
        return self.start_saga(name, customer=customer, first=first(customer))

    def cancel(self, trace_id: str) -> None:
        answer = self.insist(lambda: self.operator.post(f"/v1/sagas/{trace_id}/cancel", json={"reason": "enough"}))
        assert answer.status_code == 202, answer.text

    def until_asked(self, *customers: str, turn: int = 0) -> None:
        self.mind.server.wait_until(lambda: all(self.mind.asked(customer, turn) for customer in customers), PATIENCE)

    def until_left(self, customer: str, seconds: float) -> None:
        """The connection of its last request was closed from the other side."""
        self.mind.server.wait_until(lambda: self.mind.requests(customer)[-1].left, seconds)

    def called(self) -> list[str]:
        """Return the calls that reached the third-party tools."""
        return [line.split()[0] for line in lines(self._notes)]

    def merged(self, trace_id: str) -> Any:
        """Return the reason step's output in the saga's context, or None until it has one."""
        return (self.saga(trace_id)["context"]["steps"]["two"]["output"] or {}).get("data")

    def check_done(self, trace_id: str, customer: str, *acted: str, n: int = 1) -> None:
        """Check that the model called these tools and that each effect happened once."""
        saga = self.saga(trace_id)
        assert saga["status"] == "COMPLETED", (customer, saga)
        assert saga["context"]["steps"]["two"]["output"]["data"] == {"n": n}, customer
        assert self.ledger.entries(customer) == [*acted, "charge"], customer
        assert self.ledger.entries(first(customer)) == ["charge"], customer

    def check_undone(self, trace_id: str, customer: str, code: str, *acted: str, status: str = "FAILED") -> None:
        """Check that the model request had no effect, and that the steps before it are undone."""
        saga, two = self.saga(trace_id), self.step(trace_id, "two")
        error = two["error_details"] or {}
        assert (saga["status"], two["status"], error.get("code")) == ("COMPENSATED", status, code), saga
        assert not self.merged(trace_id), customer
        assert self.ledger.entries(customer) == list(acted), customer
        assert self.ledger.entries(first(customer)) == ["charge", "reverse"], customer


def first(customer: str) -> str:
    return f"first-{customer}"


def ended(scene: ModelScene, *traces: str, within: float = PATIENCE) -> None:
    over = ("COMPLETED", "COMPENSATED", "FAILED")
    until("they end", lambda: all(scene.saga(trace_id)["status"] in over for trace_id in traces), within)
