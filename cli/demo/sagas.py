"""Shared steps of the demo's sagas: deploy an example, start it, and wait until it is held or has ended."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adapters.yaml_text import read_documents
from cli.client import Server
from cli.demo.deviation import Deviation
from cli.devstack.procfile import PROCFILE
from cli.devstack.waiting import wait_until
from domain.identity.access import Role
from domain.manifests.bundle import referenced

# A saga of a few calls takes well under a second. The first one also starts the tool server, and the first model
# request loads its library.
SAGA_SECONDS = 90.0
EXAMPLES = PROCFILE.parent / "examples"


class Sagas:
    """Sagas of the examples. `ledger` is the SQLite file of the examples' tool server."""

    def __init__(self, url: str, credentials: Mapping[str, str], ledger: Path) -> None:
        self._ledger = ledger
        self._server = Server(url, {role: credentials[f"{role}_key"] for role in Role}, "the demo's stack")

    def deploy(self, example: str) -> list[str]:
        """Deploy the example and return the server's message for each manifest."""
        folder = EXAMPLES / example
        (worker,) = read_documents((folder / "worker.yaml").read_text())
        worker["tool_sources"][0]["env"]["LEDGER_DB"] = str(self._ledger)
        (saga,) = read_documents((folder / "saga.yaml").read_text())
        return [self._deployed(folder, manifest) for manifest in (worker, saga)]

    def start(self, name: str, given: Mapping[str, Any]) -> str:
        wanted = {"name": name, "version": "1", "input": given}
        return str(self._server.request(Role.AGENT, "POST", "/v1/sagas/start", body=wanted).document["trace_id"])

    def held(self, trace: str, unlike: str | None = None) -> dict[str, Any]:
        """Wait for the held step and return it, unless its pause is `unlike`."""

        def pending() -> list[dict[str, Any]]:
            query = {"trace_id": trace}
            found = self._server.request(Role.REVIEWER, "GET", "/v1/sagas/pending-review", query=query)
            return [item for item in found.document["items"] if item["watch_id"] != unlike]

        return dict(_until(pending, f"saga {trace} is not held")[0])

    def decide(self, held: Mapping[str, Any], verb: str, body: Mapping[str, Any]) -> Any:
        path = f"/v1/sagas/{held['saga_trace_id']}/steps/{held['step_span_id']}/{verb}"
        seen = {**body, "revision": held["revision"]}
        return self._server.request(Role.REVIEWER, "POST", path, body=seen).document["status"]

    def ended(self, trace: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = self._server.request(Role.AGENT, "GET", f"/v1/sagas/{trace}").document
            return dict(found) if found["ended_at"] is not None else None

        return dict(_until(ended, f"saga {trace} does not end"))

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the ledger's entries in order: the tool and its arguments."""
        if not self._ledger.exists():
            return []
        connection = sqlite3.connect(self._ledger)
        try:
            rows = connection.execute("SELECT tool, arguments FROM entries ORDER BY id").fetchall()
        finally:
            connection.close()
        return [(tool, json.loads(arguments)) for tool, arguments in rows]

    def _deployed(self, folder: Path, manifest: dict[str, Any]) -> str:
        bundle = {
            "manifest": manifest,
            "artifacts": {path: (folder / path).read_text() for _, path in referenced(manifest)},
        }
        return str(self._server.request(Role.ADMIN, "POST", "/v1/manifests", body=bundle).document["message"])


def _until(look: Callable[[], Any], otherwise: str) -> Any:
    found: list[Any] = []

    def looked() -> bool:
        found[:] = [look()]
        return bool(found[0])

    if not wait_until(looked, SAGA_SECONDS):
        raise Deviation(f"{otherwise} within {SAGA_SECONDS:.0f} s")
    return found[0]
