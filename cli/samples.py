"""What a new installation shows its first visitor: one pause and one held saga step, both marked as samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.client import Server
from cli.demo.sagas import Sagas
from domain.identity.access import Role

PAUSE: dict[str, Any] = {
    "action": "Sample: refund order 1042",
    "context": {
        "note": "Decide as you like: nothing comes of it, no agent waits.",
        "customer": {"name": "Ada", "email": "ada@example.com", "orders": 7},
        "reason": "the parcel came a week late",
    },
    "arguments": {"order": 1042, "amount_cents": 12900},
    "tags": ["sample"],
    "expiresIn": None,
}
SAGA, GIVEN = "Sample", {"customer": "ada@example.com", "amount": 250}
# What there is once anybody has done anything.
TRACES = ("/api/pause", "/v1/definitions/sagas", "/v1/definitions/workers", "/v1/sagas")


def seed(url: str, credentials: Mapping[str, str], data_dir: Path) -> bool:
    """Nothing where there is anything already. Raises `Failure`."""
    server = Server(url, {role: credentials[f"{role}_key"] for role in Role}, "this stack")
    if any(server.ask(Role.ADMIN, "GET", path, query={"limit": 1}).document["items"] for path in TRACES):
        return False
    server.ask(Role.AGENT, "POST", "/api/pause", body=PAUSE)
    sagas = Sagas(url, credentials, data_dir / "sample-ledger.db")
    sagas.deploy("sample")
    sagas.start(SAGA, GIVEN)
    return True
