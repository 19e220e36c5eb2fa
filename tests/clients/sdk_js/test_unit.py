"""The unit tests of the TypeScript SDK, run by Node, and its digests compared with those of the Python SDK."""

import json
import math
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sagahold import canonical_json

from tests.clients.node_agent import SOURCES, Agent, lines
from tests.clients.sdk_js.conftest import HERE

pytestmark = pytest.mark.timeout(600)
MODULES = "./node_modules/@sagahold/client/dist"


def test_unit_tests(package: Path) -> None:
    shutil.copytree(HERE / "unit", package / "unit", dirs_exist_ok=True)
    ran = subprocess.run(
        ["node", "--test", "unit"], cwd=package, capture_output=True, text=True, timeout=500, check=False
    )
    failed = ran.stdout.split("\nnot ok ")[1:]
    assert ran.returncode == 0, "\n".join(each[:3000] for each in failed) + ran.stderr
    files = list((HERE / "unit").glob("*.test.mjs"))
    passed = int(ran.stdout.rpartition("\n# pass ")[2].split()[0])
    assert passed >= sum(file.read_text().count("\ntest(") + file.read_text().count("\n  test(") for file in files)


def _floats() -> list[float]:
    edges = [0.0, -0.0, 1e-6, 1e-7, 0.1, 5e-324, 1.5, 100.25, 2.0**53 - 1]
    bits = (random.Random(8785).getrandbits(64) for _ in range(2000))
    drawn = [struct.unpack("<d", each.to_bytes(8, "little"))[0] for each in bits]
    # An integral double beyond 2^53 has more than one form in JSON.
    return [*edges, *(each for each in drawn if math.isfinite(each) and abs(each) < 2**53)]


VALUES: list[Any] = [
    {text: index for index, text in enumerate(["", "é", "\u2028", "\r", "\u20ac", "\ufb33", "1", "\U0001f600", "ö"])},
    [['\x1f\x7f"\\/\b\f\n'], ["\x80", "\ufeff", "דּ", "😀"]],
    {"numbers": _floats()},
    [1e22, 1e21, 1e20, 123456789012345680000.0, 1.7976931348623157e308, -1e300],
    [True, 1, None, [], {}, {"": {"": []}}, {"b": {"z": 1, "a": [{"y": 2, "x": 3}]}, "a": 0}],
]

DIGEST = f"""
import {{ readFileSync }} from "node:fs";
import {{ digest, loads }} from "{MODULES}/canonical-json.js";
for (const value of loads(readFileSync(process.argv[2]))) console.log(JSON.stringify(await digest(value)));
"""

KEYS = """
import { requireApproval } from "@sagahold/client";
import { FakeApprover } from "@sagahold/client/testing";
const approver = new FakeApprover().start();
async function refund() {}
const ask = (key) => requireApproval(refund, { action: "Refund", key })({ order: "ö-1", cents: 5 });
await ask("A-1");
await ask(7);
process.env.SAGAHOLD_RUN_ID = "job-7";
await ask();
await ask();
for (const request of approver.requests) console.log(JSON.stringify(request.externalId));
"""


@pytest.fixture
def printed(package: Path) -> Callable[..., list[object]]:
    """`printed(text, …)`: run the program, and return the JSON values that it prints."""

    def run(text: str, *arguments: Path) -> list[object]:
        file = package / "program.mjs"
        file.write_text(text)
        return lines(Agent(file, *arguments).ended())

    return run


def test_digests_are_those_of_the_python_sdk(printed: Callable[..., list[object]], tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    values = [*VALUES, *VALUES[2]["numbers"]]
    file.write_text(json.dumps(values))
    assert printed(DIGEST, file) == [canonical_json.digest(value) for value in values]


def test_keys_follow_the_rule_of_the_python_sdk(printed: Callable[..., list[object]]) -> None:
    call = {"function": "refund", "arguments": {"order": "ö-1", "cents": 5}}
    named = [{"key": "A-1"}, {"key": 7}, {"run": "job-7", "call": 0}, {"run": "job-7", "call": 1}]
    assert printed(KEYS) == [f"call-{canonical_json.digest(call | more)}" for more in named]


TYPED = """
import { Client, type Pause, RequestError, requireApproval } from "@sagahold/client";
import { FakeApprover } from "@sagahold/client/testing";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const check = <T extends true>(): T | void => {};

interface Order { order: string; cents?: number }
const refund = requireApproval((given: Order) => given.cents, { action: "x", key: ({ order }) => order, name: "r" });
check<Equal<typeof refund, (given: Order) => Promise<number | undefined>>>();
async function wire(to: string, cents = 5): Promise<Uint8Array> { return new Uint8Array([to.length, cents]); }
const held = requireApproval(wire, { action: (to) => `Send to ${to}`, parameters: ["to", "cents"], expiresIn: null });
const wired: (to: string, cents?: number) => Promise<Uint8Array> = held;
class Bank { pay = requireApproval(function (this: Bank, given: Order) { return this; }, { action: "x", name: "p" }); }
const bank: Promise<Bank> = new Bank().pay({ order: "A-1" });
const pauses: AsyncGenerator<Pause> = new Client().list({ status: "approved", consumed: false, tag: "x" });
export async function use(pause: Pause, error: unknown, approver: FakeApprover): Promise<string | null> {
  if (error instanceof RequestError) return error.code;
  approver.edit({ cents: 5 });
  return pause.status === "pending" ? null : pause.decision.decidedBy;
}
export { bank, pauses, wired };
// @ts-expect-error: the argument has another type
void refund({ order: 5 });
// @ts-expect-error: the argument is missing
void held();
// @ts-expect-error: a pending pause has no decision
export const decided = (pause: Pause): string => pause.decision.decidedBy;
// @ts-expect-error: there is no such option
requireApproval(wire, { action: "x", validfor: 5 });
// @ts-expect-error: there is no such status
void new Client().outcome("wch_1", "done");
"""
STRICT = ["--strict", "--exactOptionalPropertyTypes", "--noEmit", "--module", "nodenext", "--target", "es2022"]


def test_types(package: Path, node: Callable[..., str]) -> None:
    """The published types are enough for a strict consumer, who checks libraries too."""
    (package / "typed.mts").write_text(TYPED)
    node("tsc", *STRICT, "typed.mts", cwd=package)


def test_the_pins_are_one(package: Path) -> None:
    """The package is built by its own TypeScript, and tested by that of the tests."""
    own, tests = (json.loads((at / "package.json").read_text()) for at in (SOURCES, HERE.parent))
    assert own["devDependencies"] == {"typescript": tests["devDependencies"]["typescript"]}
    assert not own.keys() & {"dependencies", "optionalDependencies"}
    assert all(own["peerDependenciesMeta"][name] == {"optional": True} for name in own["peerDependencies"])
