"""A ledger over streamable HTTP that can freeze in the middle of a call, and outlives its callers.

Run `python -m tests.faults.slow_ledger FOLDER PORT`. FOLDER has one SQLite file per customer, so a call that freezes in
its transaction blocks no other customer. `journal` there gets a line for each moment that a call reaches. The call
waits at it as long as the file `hold-<customer>-<tool>-<moment>` exists.
"""

import contextlib
import json
import os
import sqlite3
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

BEFORE, MIDDLE, AFTER = "before", "middle", "after"
SCHEMA = "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, tool TEXT, key TEXT, once TEXT UNIQUE, at TEXT)"

server = MCPServer("slow ledger")
repeatable = ToolAnnotations(idempotent_hint=True, destructive_hint=False)
once_only = ToolAnnotations(idempotent_hint=False, destructive_hint=False)
folder = Path()


def come_to(moment: str, customer: str, tool: str, key: str) -> None:
    line = json.dumps({"customer": customer, "tool": tool, "key": key, "moment": moment}) + "\n"
    journal = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(journal, line.encode())
    finally:
        os.close(journal)
    while hold(folder, customer, tool, moment).exists():
        time.sleep(0.02)


def hold(place: Path, customer: str, tool: str, moment: str) -> Path:
    return place / f"hold-{customer}-{tool}-{moment}"


def act(context: Context[Any, Any], customer: str, *, repeats: bool) -> dict[str, Any]:
    """Leave an entry; with `repeats`, none if the same key has left one before, as a tool does that can be repeated."""
    asked = context.request_context
    tool, key = str((asked.params or {})["name"]), str((asked.meta or {})["sagahold/idempotency-key"])
    come_to(BEFORE, customer, tool, key)
    with contextlib.closing(
        sqlite3.connect(folder / f"{customer}.db", timeout=120, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SCHEMA)
        entry = (tool, key, f"{tool} {key}" if repeats else None, datetime.now(UTC).isoformat())
        added = connection.execute("INSERT OR IGNORE INTO entries (tool, key, once, at) VALUES (?, ?, ?, ?)", entry)
        come_to(MIDDLE, customer, tool, key)
        connection.execute("COMMIT")
    come_to(AFTER, customer, tool, key)
    return {"customer": customer, "added": added.rowcount}


@server.tool(annotations=repeatable)
def charge(context: Context[Any, Any], customer: str) -> dict[str, Any]:
    return act(context, customer, repeats=True)


@server.tool(annotations=once_only)
def charge_once(context: Context[Any, Any], customer: str) -> dict[str, Any]:
    return act(context, customer, repeats=False)


@server.tool(annotations=repeatable)
def reverse(context: Context[Any, Any], customer: str) -> dict[str, Any]:
    return act(context, customer, repeats=True)


@server.tool(annotations=once_only)
def reverse_once(context: Context[Any, Any], customer: str) -> dict[str, Any]:
    return act(context, customer, repeats=False)


@server.tool(annotations=repeatable)
def decline() -> dict[str, Any]:
    raise ToolError("declined")


class Ledger:
    """A test's view and control of the server from another process."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def hold(self, customer: str, tool: str, moment: str) -> None:
        """Calls of that tool for that customer stand still when they come to that moment."""
        hold(self.place, customer, tool, moment).touch()

    def release(self) -> None:
        for path in self.place.glob("hold-*"):
            path.unlink()

    def calls(self, customer: str, tool: str, moment: str = BEFORE) -> list[str]:
        """The idempotency keys of the calls that came to that moment."""
        journal = self.place / "journal"
        lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
        wanted = {"customer": customer, "tool": tool, "moment": moment}
        return [line["key"] for line in lines if wanted.items() <= line.items()]

    def entries(self, customer: str) -> list[str]:
        """The tools that had an effect, in their order."""
        path = self.place / f"{customer}.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.execute(SCHEMA)
            return [tool for (tool,) in connection.execute("SELECT tool FROM entries ORDER BY id")]


def main() -> None:
    global folder
    folder = Path(sys.argv[1])
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))


if __name__ == "__main__":
    main()
