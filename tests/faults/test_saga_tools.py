"""MCP servers that hang, die, answer garbage or 50 MB: what the step says, and that a worker goes on with others."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.devstack import Stack
from tests.adapters.odd_server import SERVER, odd_servers
from tests.faults.saga_scene import SagaScene, step, undo
from tests.faults.scene import until
from tests.faults.slow_ledger import BEFORE

FLOOD_MB = 50
# A worker may grow by this much during five such floods at once; two of them would not fit. Bytes.
MAY_GROW = 80 * 1024 * 1024
# Sagas that have nothing to do with it.
OTHERS = 20


@dataclass(frozen=True)
class Mischief:
    """A tool's behaviour in a saga's second step, and the expected result.

    Attributes:
        kind: the kind of tool server.
        undone: the step has an undo.
        code: the code of the step's error.
        called: how often its server was called; None if that is not recorded.
    """

    name: str
    tool: str
    status: str
    code: str
    saga: str
    kind: str = "stdio"
    undone: bool = False
    idempotent: bool | None = None
    called: int | None = 1

    @property
    def unknown(self) -> bool:
        return self.code == "OUTCOME_UNKNOWN"

    def step(self) -> dict[str, Any]:
        given: dict[str, Any] = {"flood": {"megabytes": FLOOD_MB}, "garbage": {"text": "<html>"}}.get(self.tool, {})
        more: dict[str, Any] = {"with": {name: {"value": value} for name, value in given.items()}}
        more |= undo("reverse") if self.undone else {}
        more |= {} if self.idempotent is None else {"idempotent": self.idempotent}
        # Long enough for a server's start, and for several floods at once, on a busy machine.
        more |= {"timeout_seconds": 15 if self.tool in ("hang", "block", "garbage") else 240}
        return step("two", self.tool, source=self.name) | more


TIMED_OUT, FAILED, UNKNOWN = "STEP_TIMED_OUT", "TOOL_OUTPUT_ERROR", "OUTCOME_UNKNOWN"
MISCHIEF = (
    # Its outcome is unknown, so without its own undo the saga is not compensated.
    Mischief("hangs", "hang", "TIMED_OUT", TIMED_OUT, "FAILED"),
    Mischief("hangs-undone", "hang", "COMPENSATED", TIMED_OUT, "COMPENSATED", undone=True),
    Mischief("hangs-http", "hang", "TIMED_OUT", TIMED_OUT, "FAILED", kind="http"),
    Mischief("freezes", "block", "TIMED_OUT", TIMED_OUT, "FAILED"),
    Mischief("crashes", "crash", "IN_PROGRESS", UNKNOWN, "RUNNING"),
    Mischief("crashes-undone", "crash", "IN_PROGRESS", UNKNOWN, "RUNNING", undone=True),
    Mischief("crashes-http", "crash", "IN_PROGRESS", UNKNOWN, "RUNNING", kind="http"),
    # It may be repeated, but not without end.
    Mischief("crashes-again", "crash", "IN_PROGRESS", UNKNOWN, "RUNNING", idempotent=True, called=5),
    # A line that is no message may be a log's: only the deadline ends the call.
    Mischief("garbage", "garbage", "TIMED_OUT", TIMED_OUT, "FAILED"),
    # It was carried out, and its answer is of no use.
    Mischief("floods", "flood", "FAILED", FAILED, "FAILED", called=None),
    Mischief("floods-undone", "flood", "COMPENSATED", FAILED, "COMPENSATED", undone=True, called=None),
    Mischief("floods-http", "flood", "FAILED", FAILED, "FAILED", kind="http", called=None),
    Mischief("floods-json", "flood", "FAILED", FAILED, "FAILED", kind="http-json", called=None),
    Mischief("floods-sse", "flood", "FAILED", FAILED, "FAILED", kind="sse", called=None),
)


@pytest.fixture
def scene(fragile: Stack) -> Iterator[SagaScene]:
    # A new process: its peak of memory is then that of this test.
    fragile.stop_process("worker")
    fragile.start_process("worker")
    with SagaScene(fragile) as scene:
        yield scene


def test_misbehaving_tool_servers(scene: SagaScene, tmp_path: Path) -> None:
    with ExitStack() as servers:
        for mischief in MISCHIEF:
            deploy(scene, mischief, tmp_path, servers)
        scene.deploy_saga("other", step("one", "charge"), step("two", "charge_once"))
        warm_up(scene)
        worker = psutil.Process(scene.stack.pid("worker"))
        pid, before = worker.pid, worker.memory_info().rss
        scene.ledger.hold("held", "charge", BEFORE)
        scene.mark_failure()
        held = scene.start_saga("other", customer="held")
        sagas = {each: scene.start_saga(each.name, customer=each.name) for each in MISCHIEF}
        others = [scene.start_saga("other", customer=f"other-{number}") for number in range(OTHERS)]
        until("the others end", lambda: all(scene.saga(other)["status"] == "COMPLETED" for other in others))
        assert scene.step(held, "one")["status"] == "IN_PROGRESS"
        scene.ledger.release()
        scene.settle("tool servers hang, die, answer garbage and 50 MB")
        assert scene.stack.pid("worker") == pid
        grown = peak(worker) - before
        print(f"the worker grew by at most {grown / 1024 / 1024:.0f} MB, from {before / 1024 / 1024:.0f} MB")
        assert grown < MAY_GROW
        for each, trace_id in sagas.items():
            check(scene, each, trace_id, tmp_path)
        check_log(scene)


def deploy(scene: SagaScene, mischief: Mischief, folder: Path, servers: ExitStack) -> None:
    notes = folder / mischief.name
    notes.mkdir()
    if mischief.kind == "stdio":
        source: dict[str, Any] = {"transport": "stdio", "command": sys.executable, "args": [str(SERVER), "stdio"]}
        source["env"] = {"CALLED": str(notes / "called")}
    else:
        odd = servers.enter_context(odd_servers(mischief.kind, notes)).source
        source = {"transport": str(odd.transport), "url": odd.url}
    scene.deploy_worker(mischief.name, **source)
    first = step("one", "charge", **undo("reverse"))
    scene.deploy_saga(mischief.name, first, mischief.step())


def warm_up(scene: SagaScene) -> None:
    """Load everything that a worker needs once, so that it does not count as the cost of a flood."""
    traces = [scene.start_saga("other", customer=f"early-{number}") for number in range(OTHERS)]
    until("they end", lambda: all(scene.saga(trace_id)["status"] == "COMPLETED" for trace_id in traces))


def peak(worker: psutil.Process) -> int:
    """The most memory that it ever had. Bytes."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def check(scene: SagaScene, mischief: Mischief, trace_id: str, folder: Path) -> None:
    saga, two = scene.saga(trace_id), scene.step(trace_id, "two")
    assert (saga["status"], saga["needs_operator"]) == (mischief.saga, mischief.unknown), (mischief, saga)
    assert (two["status"], two["error_details"]["code"]) == (mischief.status, mischief.code), (mischief, two)
    undone = [] if mischief.unknown else ["reverse"] * (1 + mischief.undone)
    assert scene.ledger.entries(mischief.name) == ["charge", *undone], mischief
    if mischief.called is not None:
        notes = (folder / mischief.name / "called").read_text().splitlines()
        assert notes.count(mischief.tool) == mischief.called, (mischief, notes)


def check_log(scene: SagaScene) -> None:
    """No surprise of the worker's own; what the servers wrote to their stderr is there too."""
    lines = scene.log("worker").splitlines()
    surprises = [line for line in lines if "Traceback" in line and "an MCP server says" not in line]
    assert not surprises, surprises
