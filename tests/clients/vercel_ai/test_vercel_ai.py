"""Tool calls of the unmodified package `ai`: the process dies while a person decides, and another one resumes."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.devstack import Stack
from tests.clients.desk import Desk, restart_web
from tests.clients.node_agent import Agent
from tests.clients.vercel_ai.conftest import HERE

pytestmark = pytest.mark.timeout(600)
Start = Callable[..., Agent]
MANUAL = HERE.parents[2] / "docs" / "doors" / "vercel-ai.md"
INPUT = {"order": "A-1", "cents": 12_900}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "messages.json"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def start(framework: Path, desk: Desk, saved: Path, notes: Path) -> Start:
    shutil.copy(HERE / "agent.mjs", framework)

    def run(step: str = "none", **options: object) -> Agent:
        return Agent(framework / "agent.mjs", saved, notes, step, json.dumps(options), **desk.environ)

    return run


@pytest.fixture
def dead(desk: Desk, start: Start) -> Callable[..., dict[str, Any]]:
    """`dead(**options)`: let a process ask, kill it while it waits, and return the pending pause."""

    def run(**options: object) -> dict[str, Any]:
        first = start(**options)
        (pause,) = desk.pending()
        first.kill()
        return pause

    return run


def noted(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def told(agent: Agent) -> tuple[str, str]:
    """Return the kind and the text of the tool result that the model got."""
    result = json.loads(agent.ended())
    return result["type"], str(result.get("value") or result.get("reason"))


def consumption(desk: Desk) -> Any:
    (pause,) = desk.all()
    return pause.get("consumption")


@pytest.mark.parametrize("stream", [False, True])
def test_approved(desk: Desk, start: Start, dead: Callable[..., Any], notes: Path, stream: bool) -> None:
    pause = dead(stream=stream)
    assert (pause["agentContext"]["action"], pause["agentContext"]["arguments"]) == ("Run the tool refund", INPUT)
    assert pause["approvalValidFor"] == 900
    facts = pause["metadata"]
    assert (facts["door"], facts["client"]["tool"], facts["client"]["call"]) == ("vercel-ai", "refund", "call-1")
    desk.decide("approve")
    assert told(start(stream=stream)) == ("text", "refunded 12900")
    assert noted(notes) == ["A-1 12900"]
    assert consumption(desk)["outcome"]["status"] == "succeeded"


def test_edited(desk: Desk, start: Start, dead: Callable[..., Any], notes: Path) -> None:
    """The framework runs a call as it is, or not at all."""
    dead()
    desk.decide("approve", arguments={"order": "A-1", "cents": 9_900}, revision=1)
    kind, reason = told(start())
    assert kind == "execution-denied"
    assert 'has approved other arguments: {"cents":9900,"order":"A-1"}. To run them, call the tool again' in reason
    assert noted(notes) == []
    assert consumption(desk) is None


def test_rejected(desk: Desk, start: Start, dead: Callable[..., Any], notes: Path) -> None:
    dead()
    desk.decide("reject", comment="not today")
    kind, reason = told(start())
    assert kind == "execution-denied"
    assert "was rejected by test reviewer: not today. Do not run it." in reason
    assert noted(notes) == []


def test_expired(start: Start, notes: Path) -> None:
    kind, reason = told(start(expiresIn=1))
    assert kind == "execution-denied"
    assert "did not get a decision in time" in reason
    assert noted(notes) == []


@pytest.mark.parametrize("step", ["before-request", "after-request", "before-wait", "after-wait"])
def test_killed_before_the_response(desk: Desk, start: Start, notes: Path, step: str) -> None:
    first = start(step)
    if step == "after-wait":
        desk.decide("approve")
    first.ended(-signal.SIGKILL)
    again = start()
    if step != "after-wait":
        desk.decide("approve")
    assert told(again) == ("text", "refunded 12900")
    assert noted(notes) == ["A-1 12900"]
    assert len(desk.all()) == 1


@pytest.mark.parametrize(
    ("step", "times", "words"),
    [
        ("after-consume", 0, "its result is unknown"),
        ("inside", 1, "its result is unknown"),
        ("before-outcome", 1, "its result is unknown"),
        ("before-save", 1, "and succeeded. It does not run again"),
    ],
)
def test_killed_after_the_approval_was_used(
    desk: Desk, start: Start, dead: Callable[..., Any], notes: Path, step: str, times: int, words: str
) -> None:
    dead()
    desk.decide("approve")
    start(step).ended(-signal.SIGKILL)
    kind, text = told(start())
    assert kind == "error-text"
    assert words in text
    assert noted(notes) == ["A-1 12900"] * times


def test_killed_before_the_use(desk: Desk, start: Start, dead: Callable[..., Any], notes: Path) -> None:
    dead()
    desk.decide("approve")
    start("before-consume").ended(-signal.SIGKILL)
    assert told(start()) == ("text", "refunded 12900")
    assert noted(notes) == ["A-1 12900"]


def test_the_server_is_restarted_during_the_wait(stack: Stack, desk: Desk, start: Start, notes: Path) -> None:
    agent = start()
    try:
        desk.pending()
        restart_web(stack, lambda: None)
        desk.decide("approve")
        assert told(agent) == ("text", "refunded 12900")
    finally:
        agent.kill()
    assert noted(notes) == ["A-1 12900"]


def changed(saved: Path, change: Callable[[list[Any]], object]) -> None:
    messages = json.loads(saved.read_text())
    change(messages)
    saved.write_text(json.dumps(messages))


def approve_by_hand(messages: list[Any]) -> None:
    (request,) = [part for part in messages[1]["content"] if part["type"] == "tool-approval-request"]
    response = {"type": "tool-approval-response", "approvalId": request["approvalId"], "approved": True}
    messages.append({"role": "tool", "content": [response]})


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (None, "still waits for a decision"),
        ({"verdict": "reject"}, "was rejected"),
        ({"verdict": "approve", "arguments": {"order": "A-1", "cents": 1}, "revision": 1}, "approved other arguments"),
    ],
)
def test_messages_that_claim_an_approval_run_nothing(
    desk: Desk, start: Start, dead: Callable[..., Any], saved: Path, notes: Path, verdict: Any, words: str
) -> None:
    dead()
    if verdict:
        desk.decide(**verdict)
    changed(saved, approve_by_hand)
    kind, text = told(start())
    assert kind == "error-text"
    assert words in text
    assert noted(notes) == []


def test_messages_with_other_arguments_run_nothing(
    desk: Desk, start: Start, dead: Callable[..., Any], saved: Path, notes: Path
) -> None:
    dead()
    desk.decide("approve")
    changed(saved, lambda messages: messages[1]["content"][0]["input"].update(cents=1_000_000))
    agent = start()
    _, errors = agent.process.communicate(timeout=90)
    assert agent.process.returncode == 1
    assert "have another call than the one that was requested" in errors
    changed(saved, approve_by_hand)
    kind, text = told(start())
    assert kind == "error-text"
    assert "have another call than the one that was requested" in text
    assert noted(notes) == []
    assert consumption(desk) is None


def test_a_request_of_another_thread_is_none(
    desk: Desk, start: Start, dead: Callable[..., Any], saved: Path, notes: Path
) -> None:
    dead()
    desk.decide("approve")
    changed(saved, approve_by_hand)
    kind, text = told(start(thread="another"))
    assert kind == "error-text"
    assert text.endswith("no approval was requested for the tool refund: nothing runs")
    assert noted(notes) == []


ALONE = """
import assert from "node:assert/strict";
import { generateText, jsonSchema, tool } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { holdTools } from "@sagahold/client/ai";
import { FakeApprover } from "@sagahold/client/testing";

const approver = new FakeApprover().start();
const ran = [];
const pay = tool({ inputSchema: jsonSchema({ type: "object" }), execute: (input) => void ran.push(input) });
const look = tool({ inputSchema: jsonSchema({ type: "object" }), execute: () => "seen" });
const calls = [["pay", { cents: 5 }], ["look", {}], ["pay", { cents: 500 }], ["pay", { cents: 600 }]];
const content = calls.map(([toolName, input], index) => ({
  type: "tool-call", toolCallId: `call-${index}`, toolName, input: JSON.stringify(input),
}));
const usage = { inputTokens: {}, outputTokens: {} };
const finishReason = { unified: "tool-calls", raw: undefined };
const answers = [content];
const model = new MockLanguageModelV4({
  doGenerate: async () => ({ content: answers.shift() ?? [], finishReason, usage, warnings: [] }),
});
const held = holdTools({ pay }, {
  thread: "t", when: (_, { cents }) => cents > 100, action: (name, { cents }) => `${name} ${cents}`,
});
let messages = [{ role: "user", content: "go" }];
const options = { model, tools: { ...held.tools, look }, toolApproval: held.toolApproval };
messages.push(...(await generateText({ ...options, messages })).responseMessages);
assert.deepEqual(ran, [{ cents: 5 }]);
approver.reject("no");
messages = JSON.parse(JSON.stringify(await held.answer(messages)));
const asked = await approver.pauses();
assert.deepEqual(asked.map((pause) => pause.action), ["pay 500", "pay 600"]);
const responses = messages.at(-1).content;
assert.deepEqual(responses.map((part) => part.approved), [false, true]);
assert.deepEqual(await held.answer(messages), messages);
await generateText({ ...options, messages });
assert.deepEqual(ran, [{ cents: 5 }, { cents: 600 }]);
// The same messages once more, as after a kill before they were saved.
const again = await generateText({ ...options, messages });
assert.match(JSON.stringify(again.responseMessages), /It does not run again/);
assert.deepEqual(ran, [{ cents: 5 }, { cents: 600 }]);
assert.equal((await approver.pauses()).length, 2);

assert.throws(() => holdTools({ pay }, {}), /name the thread/);
assert.throws(() => holdTools({ ask: tool({ inputSchema: jsonSchema({}) }) }, { thread: "t" }), /ask has no execute/);
assert.throws(() => holdTools({ parts: { async *execute() {} } }, { thread: "t" }), /parts is a generator/);
await assert.rejects(holdTools({ look }, { thread: "t" }).request(messages.slice(0, 2)), /is not held: pass it/);
console.log("done");
"""


def test_several_calls_at_once(framework: Path) -> None:
    (framework / "alone.mjs").write_text(ALONE)
    assert Agent(framework / "alone.mjs").ended() == "done\n"


TYPED = """
import { generateText, jsonSchema, streamText, tool, type ModelMessage } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { holdTools } from "@sagahold/client/ai";

const model = new MockLanguageModelV4();
const refund = tool({ inputSchema: jsonSchema<{ cents: number }>({}), execute: async ({ cents }) => cents });
const { tools, toolApproval, answer } = holdTools({ refund }, { thread: "t", when: (_, { cents }) => cents !== 5 });
let messages: ModelMessage[] = [];
messages = await answer(messages, { timeout: 5 });
const result = await generateText({ model, tools, toolApproval, messages });
const streamed = streamText({ model, tools, toolApproval, messages });
const found: number | undefined = result.staticToolResults[0]?.output;
messages.push(...result.responseMessages, ...(await streamed.responseMessages));
export { found };
"""


MODEL = """
import { MockLanguageModelV4 } from "ai/test";
const input = JSON.stringify({ order: "1042", cents: 12900 });
const call = { type: "tool-call", toolCallId: "call-1", toolName: "refund", input };
const rest = { usage: { inputTokens: {}, outputTokens: {} }, warnings: [] };
export const model = new MockLanguageModelV4({
  doGenerate: async ({ prompt }) => {
    const { role, content } = prompt.at(-1);
    if (role === "user") return { content: [call], finishReason: { unified: "tool-calls" }, ...rest };
    const text = `Done: ${content[0].output.value}`;
    return { content: [{ type: "text", text }], finishReason: { unified: "stop" }, ...rest };
  },
});
"""


def test_the_quick_start_of_the_manual(framework: Path, desk: Desk) -> None:
    """It is killed while it waits, and started again."""
    folder = framework / "quick-start"
    folder.mkdir()
    (text,) = re.findall(r"^```js\n(.*?)^```", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "chat.mjs").write_text(text)
    (folder / "model.mjs").write_text(MODEL)
    first = Agent(folder / "chat.mjs", cwd=folder, **desk.environ)
    desk.pending()
    first.kill()
    desk.decide("approve")
    again = Agent(folder / "chat.mjs", cwd=folder, **desk.environ)
    assert again.ended() == "Done: refunded 12900 cents for order 1042\n"
    assert consumption(desk)["outcome"]["status"] == "succeeded"


def test_types(framework: Path, node: Callable[..., str]) -> None:
    (framework / "typed.mts").write_text(TYPED)
    options = ["--strict", "--skipLibCheck", "--noEmit", "--module", "nodenext", "--target", "es2022"]
    node("tsc", *options, "typed.mts", cwd=framework)
