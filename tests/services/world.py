"""People, drafts and short cuts that the service tests share."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import text

from domain.delivery.webhook import Attempt, AttemptOutcome
from domain.identity.access import Principal, Role
from domain.pauses.creation import PauseRequest
from domain.pauses.pause import Actor, Approve, Cancel, OnTimeout, Reject
from domain.values import ids
from services.kernel.idempotency import IdempotentRequest
from services.kernel.unit_of_work import Database
from services.log.sequencer import link_entries
from services.operations.retention import Pruner
from services.pauses.lifecycle import CreateRequest, create_pauses
from services.pauses.namespaces import put_namespace
from services.webhooks.endpoints import EndpointChange, create_endpoint
from services.webhooks.worker import DeliveryJob, claim_delivery, record_attempt

T = TypeVar("T")


def someone(role: Role, *namespaces: str, id_: str | None = None) -> Principal:
    return Principal(id_ or f"key_{role}", str(role), role, namespaces or ("default",))


AGENT = someone(Role.AGENT)
REVIEWER = someone(Role.REVIEWER)
OPERATOR = someone(Role.OPERATOR)
ADMIN = someone(Role.ADMIN, "*")

DRAFT = PauseRequest("default", "deploy", timedelta(hours=1), OnTimeout.EXPIRE)
CALLBACK = "http://127.0.0.1:9/hook"
SCHEDULE = (5, 300)


def draft(**changes: Any) -> PauseRequest:
    return replace(DRAFT, **changes)


def create_pause(
    database: Database, by: Principal, draft: PauseRequest, idempotency: IdempotentRequest | None
) -> tuple[dict[str, Any], bool]:
    """Its document, and whether it was there before."""
    (outcome,) = create_pauses(database, lambda: [CreateRequest(by, draft, idempotency)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome.document, outcome.repeated


def post(
    database: Database, by: Principal = AGENT, idempotency: IdempotentRequest | None = None, **changes: Any
) -> str:
    """A new pause's watchId."""
    made, _ = create_pause(database, by, draft(**changes), idempotency)
    return str(made["watchId"])


def let_time_approve(database: Database) -> None:
    """Allow pauses of the default namespace to be approved at their expiry."""
    put_namespace(database, ADMIN, "default", None, {"allowed_on_timeout": list(OnTimeout)})


def idempotency(key: str, body: str = "body") -> IdempotentRequest:
    return IdempotentRequest(key, hashlib.sha256(body.encode()).digest())


def approve(by: Principal = REVIEWER, **more: Any) -> Approve:
    return Approve(Actor(by.id, by.name), **more)


def reject(by: Principal = REVIEWER, **more: Any) -> Reject:
    return Reject(Actor(by.id, by.name), **more)


def cancel(by: Principal = AGENT) -> Cancel:
    return Cancel(Actor(by.id, by.name))


def uuid_of(watch_id: str) -> UUID:
    found = ids.parse(ids.WATCH, watch_id)
    assert found is not None
    return found


def rows(database: Database, query: str, **values: object) -> list[dict[str, Any]]:
    with database.reading() as conn:
        return [dict(row) for row in conn.execute(text(query), values).mappings()]


def linked(database: Database) -> Database:
    """The same database, once the entries of the audit log are in their chains."""
    link_entries(database)
    return database


def one(database: Database, query: str, **values: object) -> Any:
    """The only value of the only row."""
    (row,) = rows(database, query, **values)
    (value,) = row.values()
    return value


def change(database: Database, statement: str, **values: object) -> int:
    """How time passes in these tests: timestamps are moved, the database's clock is left alone."""
    with database.transaction() as uow:
        return uow.conn.execute(text(statement), values).rowcount


def prune(database: Database, retention: timedelta) -> dict[str, int]:
    """Make one whole pass; return how many rows of each table it deleted."""
    return Pruner(database, retention).run(float("inf")).deleted


def expire(database: Database, watch_id: str) -> None:
    """Let the pause's time run out."""
    assert change(
        database, "UPDATE pauses SET expires_at = now() - interval '1 s' WHERE id = :id", id=uuid_of(watch_id)
    )


def at_once(calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Run them in as many threads, from the same moment; what each returned or raised."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait(90)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def an_endpoint(database: Database, by: Principal = ADMIN, **changes: Any) -> dict[str, Any]:
    new = EndpointChange(**{"url": CALLBACK, "namespaces": ("default",), **changes})
    return create_endpoint(database, by, new, None)[0]


def deliveries(database: Database) -> list[dict[str, Any]]:
    """In the order in which they were made."""
    joined = "webhook_deliveries d JOIN webhook_messages m ON m.id = d.message_id"
    return rows(database, f"SELECT d.*, m.type, m.body FROM {joined} ORDER BY d.seq")


def attempt(outcome: AttemptOutcome, now: datetime, status: int | None = None, **more: Any) -> Attempt:
    error = None if outcome is AttemptOutcome.SUCCEEDED else f"it {outcome}"
    return Attempt(outcome, now, 5, status, error, **more)


def claim(database: Database, delivery: dict[str, Any]) -> DeliveryJob:
    """Raises when it cannot be claimed."""
    job = claim_delivery(database, delivery["id"])
    assert job is not None, f"{delivery['type']} could not be claimed"
    return job


def finish(
    database: Database, job: DeliveryJob, status: int = 200, *, schedule: Sequence[int] = SCHEDULE, **more: Any
) -> bool:
    """Record that the receiver answered with this status."""
    outcome = AttemptOutcome.SUCCEEDED if status == 200 else AttemptOutcome.FAILED
    with database.transaction() as uow:
        now = uow.now
    return record_attempt(database, job.lease, attempt(outcome, now, status, **more), schedule, 0.5)


def due_now(database: Database) -> None:
    change(database, "UPDATE webhook_deliveries SET due_at = now(), hint_at = now() WHERE status = 'pending'")
