"""The examples' manifests, as they are but for where they keep things, on the tool servers that they name."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from adapters.yaml_text import read_documents
from cli.devstack.waiting import wait_until
from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
SETTLES_WITHIN = 120.0
ENTRIES = "SELECT tool, arguments FROM entries ORDER BY id"
ADA = {"name": "Ada", "to": "ada@example.com", "reason": "opens a small hotel next month"}


class Example:
    """One of them, deployed into the test's namespace, with its ledger and its repository in `folder`."""

    def __init__(self, name: str, folder: Path, namespace: str, client_for: Callable[..., httpx.Client]) -> None:
        self.name, self.folder = name, folder
        self.agent, self.reviewer, admin = client_for("agent"), client_for("reviewer"), client_for("admin")
        own = EXAMPLES / name
        files = {str(path.relative_to(own)): path.read_text() for path in own.glob("*/*") if path.is_file()}
        for file in ("worker.yaml", "saga.yaml"):
            text = (EXAMPLES / name / file).read_text().replace(".sagahold", str(folder))
            (manifest,) = read_documents(text)
            bundle = {"manifest": {**manifest, "namespace": namespace}, "artifacts": files}
            admin.post("/v1/manifests", json=bundle).raise_for_status()

    def start(self, **given: Any) -> str:
        answer = self.agent.post("/v1/sagas/start", json={"name": self.name, "version": "1", "input": given})
        return str(answer.raise_for_status().json()["trace_id"])

    def await_status(self, trace: str, *wanted: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(self.agent.get(f"/v1/sagas/{trace}").raise_for_status().json())
            return found["status"] in wanted

        assert wait_until(there, SETTLES_WITHIN), f"{found['status']}: {found['steps']}"
        return found

    def held(self, trace: str) -> dict[str, Any]:
        """Wait for a held step and return its item in the review queue."""
        self.await_status(trace, "AWAITING_HUMAN")
        item: dict[str, Any]
        (item,) = self.reviewer.get("/v1/sagas/pending-review", params={"trace_id": trace}).json()["items"]
        return item

    def decide(self, trace: str, verb: str, **said: Any) -> None:
        self.decided(trace, verb, **said).raise_for_status()

    def decided(self, trace: str, verb: str, **said: Any) -> httpx.Response:
        held = self.held(trace)
        path = f"/v1/sagas/{trace}/steps/{held['step_span_id']}/{verb}"
        return self.reviewer.post(path, json={"revision": held["revision"], **said})

    def step(self, trace: str, id_: str) -> dict[str, Any]:
        """All that is known of it."""
        steps = self.agent.get("/v1/sagas/steps", params={"trace_id": trace}).raise_for_status().json()["items"]
        (span,) = [step["step_span_id"] for step in steps if step["step_id"] == id_]
        found: dict[str, Any] = self.agent.get(f"/v1/sagas/{trace}/steps/{span}").raise_for_status().json()
        return found

    def ledger(self) -> list[str]:
        return [tool for tool, _ in self.entries()]

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """The tools that did something, with their arguments."""
        connection = sqlite3.connect(self.folder / "ledger.db")
        try:
            return [(tool, json.loads(given)) for tool, given in connection.execute(ENTRIES)]
        finally:
            connection.close()
