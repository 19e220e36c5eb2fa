"""A small MCP server that changes an SQLite file: every call adds a row.

    LEDGER_DB=ledger.db python server.py               serves MCP over stdin and stdout
    LEDGER_DB=ledger.db python server.py --http 8900   serves streamable HTTP at http://127.0.0.1:8900/mcp

All tools except `charge_once` are idempotent. A call that repeats a tool's `idempotency_key` adds no row and returns
the first result. `charge_once` has no key and declares that, like many real systems.
"""

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
  id INTEGER PRIMARY KEY,
  idempotency_key TEXT,
  tool TEXT NOT NULL,
  arguments TEXT NOT NULL,
  at TEXT NOT NULL,
  UNIQUE (tool, idempotency_key)
)
"""
# The sign with which a tool's entry changes its customer's balance.
SIGN = {"charge": -1, "charge_once": -1, "refund": 1, "reverse_refund": -1}

server = MCPServer("ledger")
acts = ToolAnnotations(idempotent_hint=True, destructive_hint=False)
undoes = ToolAnnotations(idempotent_hint=True, destructive_hint=True)


@contextmanager
def ledger() -> Iterator[sqlite3.Connection]:
    """Open a connection and a transaction for one call, because several servers may share the file."""
    connection = sqlite3.connect(os.environ["LEDGER_DB"], timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


def write(tool: str, arguments: dict[str, Any], key: str | None) -> dict[str, Any]:
    """Add the entry, or return the earlier one with the same key."""
    with ledger() as connection:
        row = (key, tool, json.dumps(arguments, sort_keys=True), datetime.now(UTC).isoformat())
        added = connection.execute(
            "INSERT INTO entries (idempotency_key, tool, arguments, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row
        )
        if added.rowcount:
            return {"entry": added.lastrowid, **arguments}
        entry, written = connection.execute(
            "SELECT id, arguments FROM entries WHERE tool = ? AND idempotency_key = ?", (tool, key)
        ).fetchone()
    if json.loads(written) != arguments:
        raise ToolError(f"the idempotency key {key} was used for other arguments: {written}")
    return {"entry": entry, **arguments}


@server.tool(annotations=acts)
def charge(customer: str, amount: float, idempotency_key: str | None = None) -> dict[str, Any]:
    """Take an amount from a customer."""
    return write("charge", {"customer": customer, "amount": positive(amount)}, idempotency_key)


@server.tool(annotations=ToolAnnotations(idempotent_hint=False, destructive_hint=False))
def charge_once(customer: str, amount: float) -> dict[str, Any]:
    """Take an amount from a customer; a repeated call takes it again."""
    return write("charge_once", {"customer": customer, "amount": positive(amount)}, None)


@server.tool(annotations=acts)
def refund(customer: str, amount: float, idempotency_key: str | None = None) -> dict[str, Any]:
    """Give an amount back to a customer."""
    return write("refund", {"customer": customer, "amount": positive(amount)}, idempotency_key)


@server.tool(annotations=undoes)
def reverse_refund(customer: str, amount: float, idempotency_key: str | None = None) -> dict[str, Any]:
    """Take a refund back."""
    return write("reverse_refund", {"customer": customer, "amount": positive(amount)}, idempotency_key)


@server.tool(annotations=acts)
def send_email(to: str, subject: str, body: str = "", idempotency_key: str | None = None) -> dict[str, Any]:
    """Send an e-mail. (This server only records it.)"""
    return write("send_email", {"to": to, "subject": subject, "body": body}, idempotency_key)


@server.tool(annotations=undoes)
def withdraw_email(to: str, subject: str, idempotency_key: str | None = None) -> dict[str, Any]:
    """Send a correction after an e-mail that should not have been sent."""
    return write("withdraw_email", {"to": to, "subject": subject}, idempotency_key)


@server.tool(annotations=acts)
def deploy(service: str, version: str, idempotency_key: str | None = None) -> dict[str, Any]:
    """Put a version of a service into production."""
    return write("deploy", {"service": service, "version": version}, idempotency_key)


@server.tool(annotations=undoes)
def rollback(service: str, version: str, idempotency_key: str | None = None) -> dict[str, Any]:
    """Take that version of a service out of production again."""
    return write("rollback", {"service": service, "version": version}, idempotency_key)


@server.tool(annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, destructive_hint=False))
def balance(customer: str) -> dict[str, Any]:
    """Return the sum of a customer's entries. Adds no entry."""
    with ledger() as connection:
        entries = connection.execute("SELECT tool, arguments FROM entries ORDER BY id").fetchall()
    read = [(tool, json.loads(arguments)) for tool, arguments in entries]
    own = [SIGN[tool] * given["amount"] for tool, given in read if tool in SIGN and given["customer"] == customer]
    return {"customer": customer, "balance": round(sum(own), 2), "entries": len(own)}


def positive(amount: float) -> float:
    if not 0 < amount < 1e12:
        raise ToolError(f"the amount must be more than 0 and less than 10^12, not {amount}")
    return amount


def main() -> None:
    parser = argparse.ArgumentParser(description="A ledger over MCP, in the SQLite file that LEDGER_DB names.")
    parser.add_argument("--http", metavar="PORT", type=int, help="serve streamable HTTP on 127.0.0.1 instead of stdio")
    options = parser.parse_args()
    if "LEDGER_DB" not in os.environ:
        sys.exit("LEDGER_DB is not set: put the path of the SQLite file there")
    Path(os.environ["LEDGER_DB"]).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(os.environ["LEDGER_DB"], timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")  # readers (a person with `sqlite3`, a test) never block the server
    connection.execute(SCHEMA)
    connection.close()
    if options.http:
        server.run("streamable-http", host="127.0.0.1", port=options.http)
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
