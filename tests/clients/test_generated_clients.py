"""Clients generated from the API document, compiled, and used to hold an action until it is approved."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cli.devstack import Stack
from tests.clients.install import NODE

Run = Callable[..., str]
# The generators and linters may have to be installed first.
pytestmark = pytest.mark.timeout(600)

# Media types that generators cannot read, because they are not JSON.
UNREAD = {"application/jose", "application/yaml", "application/x-yaml", "text/yaml", "application/x-ndjson"}

AGENT_IN_PYTHON = """
import sys
from sagahold_client import AuthenticatedClient
from sagahold_client.api.pauses import approve_pause, create_pause, get_pause, list_pauses
from sagahold_client.models import Approve, CreatePauseResponse422, PauseDraft, PauseStatus

url, agent_key, reviewer_key = sys.argv[1:]
agent, reviewer = (AuthenticatedClient(base_url=url, token=key) for key in (agent_key, reviewer_key))

made = create_pause.sync(client=agent, body=PauseDraft(action="Deploy", tags=["sdk"]), idempotency_key="sdk-test-1")
assert made.status == PauseStatus.PENDING, made
again = create_pause.sync(client=agent, body=PauseDraft(action="Deploy", tags=["sdk"]), idempotency_key="sdk-test-1")
assert again.watch_id == made.watch_id
assert get_pause.sync(made.watch_id, client=agent, wait=1).status == PauseStatus.PENDING
(listed,) = list_pauses.sync(client=reviewer, tag="sdk").items
assert listed.watch_id == made.watch_id
approval = Approve(comment="from an SDK", revision=listed.revision)
decided = approve_pause.sync(made.watch_id, client=reviewer, body=approval)
assert decided.status == PauseStatus.APPROVED
seen = get_pause.sync(made.watch_id, client=agent, wait=60)
assert seen.decision.comment == "from an SDK"
assert seen.resolved_at.tzinfo is not None

refused = create_pause.sync(client=agent, body=PauseDraft(action=""))
assert isinstance(refused, CreatePauseResponse422), refused
assert (refused.status, refused.errors[0].path) == (422, "action"), refused
print("approved")
"""

AGENT_IN_TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths, webhooks, components } from "./schema.js";

const [url, agentKey, reviewerKey] = process.argv.slice(2);
const as = (key: string) => createClient<paths>({ baseUrl: url!, headers: { Authorization: `Bearer ${key}` } });
const agent = as(agentKey!), reviewer = as(reviewerKey!);

type Approved = webhooks["pause.approved"]["post"]["requestBody"]["content"]["application/json"];
const outcomeOf = (event: Approved): string | undefined => event.data.decision?.outcome;
const draft: components["schemas"]["PauseDraft"] = { action: "Deploy" };

const made = await agent.POST("/api/pause", { body: draft });
if (made.error) throw new Error(made.error.detail);
const watch_id = made.data.watchId;
const path = { watch_id };
const body = { comment: "from tsc" };
const decided = await reviewer.POST("/api/pause/{watch_id}/approve", { params: { path }, body });
if (decided.error) throw new Error(decided.error.code);
const seen = await agent.GET("/api/pause/{watch_id}", { params: { path, query: { wait: 60 } } });
const timestamp = decided.data.resolvedAt!;
if (seen.data === undefined) throw new Error("not read");
console.log(outcomeOf({ type: "pause.approved", timestamp, data: seen.data }), seen.data.decision?.comment);
"""

TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "noUncheckedIndexedAccess": True,
        "module": "nodenext",
        "target": "es2022",
        "types": [],
        "lib": ["es2022", "dom"],
        "skipLibCheck": False,
    }
}


def key(client: httpx.Client) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")


def test_linters_find_nothing(contract: Path, node: Run) -> None:
    """Neither an error nor a warning, by each one's own rules."""
    rules = contract.with_name("rules.yaml")
    rules.write_text("extends: ['spectral:oas']\n")
    assert "No results" in node("spectral", "lint", "--fail-severity", "hint", "--ruleset", rules, contract)
    said = node("redocly", "lint", "--format", "summary", contract.name, cwd=contract.parent)
    assert "Your API description is valid" in said
    assert not re.search(r"^(error|warning) ", said, re.MULTILINE)
    assert "You have" not in said


def test_python(contract: Path, python: Run, stack: Stack, client_for: Callable[..., httpx.Client]) -> None:
    folder = contract.with_name("client")
    said = python("openapi-python-client", "generate", "--path", contract, "--output-path", folder)
    told = re.findall(r"[Uu]nsupported content[_ ]type (\S+?)\)?[,\s]", said)
    assert set(told) <= UNREAD
    # One line tells that there are warnings; every other one is about such a body.
    assert said.count("WARNING") == len(told), said
    python("python", "-m", "compileall", "-q", folder)
    agent = folder / "agent.py"
    agent.write_text(AGENT_IN_PYTHON)
    keys = [key(client_for(role)) for role in ("agent", "reviewer")]
    assert python("python", agent, stack.url, *keys).strip() == "approved"


def test_typescript(
    contract: Path, node: Run, stack: Stack, client_for: Callable[..., httpx.Client], tmp_path: Path
) -> None:
    node("openapi-typescript", contract, "--output", tmp_path / "schema.d.ts")
    (tmp_path / "agent.mts").write_text(AGENT_IN_TYPESCRIPT)
    (tmp_path / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    (tmp_path / "globals.d.ts").write_text("declare const process: { argv: string[] };\n")
    (tmp_path / "node_modules").symlink_to(NODE)
    node("tsc", "--project", tmp_path)
    keys = [key(client_for(role)) for role in ("agent", "reviewer")]
    assert node("node", tmp_path / "agent.mjs", stack.url, *keys).strip() == "approved from tsc"
