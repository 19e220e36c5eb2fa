"""The measured stack, with an agent, a reviewer and their requests."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count, repeat
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection as DbConnection
from sqlalchemy import cast, create_engine, func, insert, literal, select, text
from sqlalchemy.types import Uuid

from bench.wire import Connection, Server
from cli.devstack import Stack
from domain.pauses.pause import Pause
from domain.values import ids
from models.pauses import pauses, values

NAMESPACE = "bench"
ACTION = "Deploy build 4711 of the billing service to production"
# About 300 bytes as JSON, like a typical agent's.
CONTEXT_DOCUMENT = {
    "service": "billing",
    "build": 4711,
    "environment": "production",
    "summary": "Migrates the invoice table and switches the tax rules of twelve countries on",
    "changed_files": 37,
    "tests": {"passed": 1842, "failed": 0},
    "risk": "medium",
    "requested_by": "release-agent",
    "rollback": "redeploy build 4702, which still runs in the other region",
}
CONTEXT = json.dumps(CONTEXT_DOCUMENT)
_DRAFT = {"action": ACTION, "context": CONTEXT_DOCUMENT}
_APPROVAL = {"comment": "looks good"}


class Subject:
    """Keys of one namespace, like a user's, because the first keys of an installation reach every namespace."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.server = Server(stack.url)
        self.engine = create_engine(stack.settings.database_url)
        self.agent, self.agent_id = self._key("agent")
        self.reviewer, _ = self._key("reviewer")
        self.operator = stack.credentials["operator_key"]

    def close(self) -> None:
        self.engine.dispose()

    def creations(self) -> Iterator[bytes]:
        return repeat(self.server.request("POST", "/api/pause", self.agent, _DRAFT))

    def approval(self, watch_id: str) -> bytes:
        return self.server.request("POST", f"/api/pause/{watch_id}/approve", self.reviewer, _APPROVAL)

    def approvals(self, watch_ids: list[str]) -> Iterator[bytes]:
        """Build the requests in advance, outside the measurement."""
        return iter([self.approval(watch_id) for watch_id in watch_ids])

    def reading(self, watch_id: str, wait: int) -> bytes:
        return self.server.request("GET", f"/api/pause/{watch_id}?wait={wait}", self.agent)

    def lists(self) -> Iterator[bytes]:
        """Build requests for the first page of the review queue."""
        return repeat(self.server.request("GET", "/api/pause?status=pending&limit=50", self.reviewer))

    def metric(self, name: str) -> float:
        found = self._ask("GET", "/metrics", self.operator).decode()
        return next(float(line.split()[-1]) for line in found.splitlines() if line.startswith(f"{name} "))

    def park(self, number: int, callback_url: str | None = None) -> list[str]:
        """Create this many pending pauses with one statement, in the same state as by the API."""
        with self.engine.begin() as conn:
            return [ids.text(ids.WATCH, id_) for id_ in _park(conn, number, self._pattern(callback_url))]

    def forget_pauses(self) -> None:
        with self.engine.begin() as conn:
            conn.execute(text("TRUNCATE pauses CASCADE"))

    def settle(self) -> None:
        """Vacuum and checkpoint after a bulk load, so that the database does not during a measurement."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.execute(text("VACUUM ANALYZE pauses"))
            conn.execute(text("CHECKPOINT"))

    def pauses_bytes(self) -> int:
        with self.engine.begin() as conn:
            return int(conn.execute(select(func.pg_total_relation_size("pauses"))).scalar_one())

    def web_connections(self) -> tuple[int, int]:
        """Return how many database connections the web process has, and how many are active now."""
        query = "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity"
        with self.engine.begin() as conn:
            there, active = conn.execute(text(f"{query} WHERE application_name = 'sagahold web'")).one()
        return int(there), int(active)

    def _key(self, role: str) -> tuple[str, str]:
        wanted = {"name": f"bench {role}", "role": role, "namespaces": [NAMESPACE]}
        made = json.loads(self._ask("POST", "/v1/keys", self.stack.credentials["admin_key"], wanted))
        return made["key"], made["id"]

    def _ask(self, *request: Any) -> bytes:
        # A separate connection, because the server closes one that is idle for long.
        with closing(Connection(self.server)) as connection:
            return connection.call(self.server.request(*request))

    def _pattern(self, callback_url: str | None) -> Pause:
        now = datetime.now(UTC)
        return Pause(
            id=uuid4(),
            namespace=NAMESPACE,
            action=ACTION,
            created_by=self.agent_id,
            created_at=now,
            expires_at=now + timedelta(days=1),
            context=CONTEXT_DOCUMENT,
            callback_url=callback_url,
        )


_batches = count()
_MILLISECOND = literal(timedelta(milliseconds=1))


def _park(conn: DbConnection, number: int, pattern: Pause) -> list[UUID]:
    """Return copies of a row from the real code, a millisecond apart, with ids that sort by time."""
    if number == 0:
        return []
    conn.execute(insert(pauses).values(values(pattern)))
    series = func.generate_series(1, number).table_valued("number").render_derived()
    first = int(pattern.created_at.timestamp() * 1000) - number
    at = func.lpad(func.to_hex(first + series.c.number), 12, "0")
    random = func.md5(func.concat(next(_batches), "/", series.c.number))
    # A version 7 UUID, as in `domain.values.ids`.
    uuid = func.concat(at, "7", func.substr(random, 1, 3), "8", func.substr(random, 4, 15))
    later = (series.c.number - number) * _MILLISECOND
    replaced = {
        "id": cast(uuid, Uuid),
        "created_at": pauses.c.created_at + later,
        "expires_at": pauses.c.expires_at + later,
    }
    columns = [replaced.get(column.name, column) for column in pauses.columns]
    copies = select(*columns).join_from(pauses, series, literal(True)).where(pauses.c.id == pattern.id)
    made = insert(pauses).from_select([column.name for column in pauses.columns], copies).returning(pauses.c.id)
    found = list(conn.execute(made).scalars())
    conn.execute(pauses.delete().where(pauses.c.id == pattern.id))
    return found
