"""Samples in a new installation for its first visitor: one pause and one held step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.client import Server
from cli.demo.sagas import Sagas
from domain.identity.access import Role

PAUSE: dict[str, Any] = {
    "action": "Sample: refund order 1042",
    "context": {
        "note": "Decide as you like. No agent waits, and nothing is executed.",
        "customer": {"name": "Ada", "email": "ada@example.com", "orders": 7},
        "reason": "the order arrived a week late",
    },
    "arguments": {"order": 1042, "amount_cents": 12900},
    "tags": ["sample"],
    "expiresIn": None,
}
SAGA, GIVEN = "Sample", {"customer": "ada@example.com", "amount": 250}
# Any item in these lists shows that the installation is in use.
USED = ("/api/pause", "/v1/definitions/sagas", "/v1/definitions/workers", "/v1/sagas")


def seed(url: str, credentials: Mapping[str, str], data_dir: Path) -> bool:
    """Create the samples and return True; do nothing if the installation is in use. Raises `Failure`."""
    server = Server(url, {role: credentials[f"{role}_key"] for role in Role}, "this stack")
    if any(server.request(Role.ADMIN, "GET", path, query={"limit": 1}).document["items"] for path in USED):
        return False
    server.request(Role.AGENT, "POST", "/api/pause", body=PAUSE)
    sagas = Sagas(url, credentials, data_dir / "sample-ledger.db")
    sagas.deploy("sample")
    sagas.start(SAGA, GIVEN)
    return True
