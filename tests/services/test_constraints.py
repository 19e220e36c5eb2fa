"""The impossible cannot be stored: one test for each CHECK, key and unique index, past all of our own code."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from models.tables import metadata
from services.transaction import Store
from tests.services.world import one, rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID, OTHER_ID = UUID(int=0), UUID(int=1)
DECIDED = {"status": "approved", "resolved_at": NOW, "decided_by": "key_anne"}
GOOD: dict[str, dict[str, Any]] = {
    "pauses": {
        "id": ID,
        "created_at": NOW,
        "revision": 1,
        "priority": 0,
        "namespace": "default",
        "kind": "agent",
        "status": "pending",
        "on_timeout": "expire",
        "created_by": "key_agent",
        "action": "deploy",
    },
    "api_keys": {
        "id": ID,
        "hash": bytes(32),
        "prefix": "hitl_x",
        "name": "x",
        "role": "agent",
        "namespaces": ["default"],
        "created_at": NOW,
        "created_by": "key_admin",
    },
    "webhook_endpoints": {
        "id": ID,
        "url": "http://x/",
        "description": "",
        "event_types": [],
        "namespaces": ["*"],
        "headers": {},
        "enabled": True,
        "created_at": NOW,
        "updated_at": NOW,
    },
    "webhook_secrets": {"namespace": "default", "secret": "whsec_x"},
    "webhook_messages": {"id": ID, "namespace": "default", "type": "t", "body": "{}", "created_at": NOW},
    "webhook_deliveries": {
        "id": ID,
        "message_id": ID,
        "namespace": "default",
        "url": "http://x/",
        "lane": "http://x",
        "status": "pending",
        "attempts": 0,
        "retry": 0,
        "created_at": NOW,
        "due_at": NOW,
        "hint_at": NOW,
    },
    "webhook_attempts": {
        "delivery_id": ID,
        "number": 1,
        "started_at": NOW,
        "duration_ms": 1,
        "outcome": "failed",
    },
    "idempotency_keys": {
        "namespace": "default",
        "key": "key-0001",
        "fingerprint": bytes(32),
        "answer": {},
        "created_at": NOW,
    },
    "definitions": {
        "id": ID,
        "kind": "saga",
        "namespace": "default",
        "name": "refund",
        "version": "1",
        "is_active": True,
        "content": {},
        "digest": bytes(32),
        "created_at": NOW,
        "updated_at": NOW,
        "created_by": "key_admin",
    },
    "sagas": {
        "id": ID,
        "created_at": NOW,
        "definition_id": ID,
        "namespace": "default",
        "status": "RUNNING",
        "created_by": "key_agent",
        "start_idempotency_key": "key-0001",
        "workers": {},
        "input": {},
        "needs_operator": False,
    },
    # An undo.
    "saga_steps": {
        "saga_id": ID,
        "place": 0,
        "attempt": 0,
        "retries": 0,
        "span_id": 1,
        "compensates": 7,
        "call_began": False,
        "unsure": False,
        "may_repeat": False,
        "watch_id": ID,
        "step_id": "pay",
        "status": "PENDING",
    },
    "saga_transcripts": {"saga_id": ID, "place": 0, "messages": []},
}
NEEDS = {
    "webhook_deliveries": ["webhook_messages"],
    "webhook_attempts": ["webhook_messages", "webhook_deliveries"],
    "sagas": ["definitions"],
    "saga_steps": ["definitions", "pauses", "sagas"],
    "saga_transcripts": ["definitions", "pauses", "sagas", "saga_steps"],
}
BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("ck_pauses_status", "pauses", DECIDED | {"status": "escalated"}),
    ("ck_pauses_resolved", "pauses", DECIDED | {"resolved_at": None}),
    ("ck_pauses_resolved", "pauses", {"resolved_at": NOW}),
    ("ck_pauses_decided", "pauses", DECIDED | {"decided_by": None}),
    ("ck_pauses_decided", "pauses", {"decided_by": "key_anne"}),
    ("ck_pauses_digest", "pauses", {"arguments": {"n": 1}}),
    ("ck_pauses_digest", "pauses", {"arguments_digest": bytes(32)}),
    ("ck_pauses_kind", "pauses", {"kind": "other"}),
    ("ck_pauses_on_timeout", "pauses", {"on_timeout": "escalate"}),
    ("ck_pauses_no_self_decision", "pauses", DECIDED | {"decided_by": "key_agent"}),
    ("ck_pauses_no_self_decision", "pauses", DECIDED | {"decided_by": "key_agent", "status": "rejected"}),
    ("ck_api_keys_role", "api_keys", {"role": "root"}),
    ("ck_api_keys_namespaces", "api_keys", {"namespaces": []}),
    ("ck_api_keys_hash", "api_keys", {"hash": b"hitl_the_key_itself"}),
    ("ck_webhook_endpoints_namespaces", "webhook_endpoints", {"namespaces": []}),
    ("ck_webhook_endpoints_disabled_reason", "webhook_endpoints", {"disabled_reason": "because"}),
    ("ck_webhook_secrets_owner", "webhook_secrets", {"namespace": None}),
    ("ck_webhook_secrets_owner", "webhook_secrets", {"endpoint_id": ID}),
    ("ck_webhook_deliveries_lease", "webhook_deliveries", {"lease_token": ID}),
    ("ck_webhook_deliveries_lease", "webhook_deliveries", {"leased_until": NOW}),
    ("ck_webhook_deliveries_status", "webhook_deliveries", {"status": "lost", "completed_at": NOW}),
    ("ck_webhook_deliveries_completed", "webhook_deliveries", {"completed_at": NOW}),
    ("ck_webhook_deliveries_completed", "webhook_deliveries", {"status": "delivered"}),
    ("ck_webhook_attempts_outcome", "webhook_attempts", {"outcome": "maybe"}),
    ("fk_webhook_deliveries_message_id", "webhook_deliveries", {"message_id": OTHER_ID}),
    ("fk_webhook_deliveries_endpoint_id", "webhook_deliveries", {"endpoint_id": OTHER_ID}),
    ("fk_webhook_secrets_endpoint_id", "webhook_secrets", {"namespace": None, "endpoint_id": OTHER_ID}),
    ("fk_webhook_attempts_delivery_id", "webhook_attempts", {"delivery_id": OTHER_ID}),
    ("ck_definitions_kind", "definitions", {"kind": "other"}),
    ("ck_definitions_digest", "definitions", {"digest": bytes(31)}),
    ("ck_sagas_status", "sagas", {"status": "DONE"}),
    ("ck_sagas_ended", "sagas", {"status": "COMPLETED"}),
    ("ck_sagas_ended", "sagas", {"ended_at": NOW}),
    (
        "ck_sagas_nothing_due_after_the_end",
        "sagas",
        {"status": "FAILED", "ended_at": NOW, "due_at": NOW, "hint_at": NOW},
    ),
    ("ck_sagas_hint", "sagas", {"due_at": NOW}),
    ("ck_sagas_hint", "sagas", {"hint_at": NOW}),
    ("ck_sagas_lease", "sagas", {"lease_token": ID}),
    ("ck_sagas_lease", "sagas", {"leased_until": NOW}),
    ("fk_sagas_definition_id", "sagas", {"definition_id": OTHER_ID}),
    ("ck_saga_steps_status", "saga_steps", {"status": "DONE"}),
    ("ck_saga_steps_held_by_a_pause", "saga_steps", {"status": "AWAITING_HUMAN", "watch_id": None}),
    ("ck_saga_steps_no_call_before_its_turn", "saga_steps", {"call_began": True}),
    ("ck_saga_steps_no_call_before_its_turn", "saga_steps", {"status": "SKIPPED", "call_began": True}),
    ("ck_saga_steps_no_undo_of_an_undo", "saga_steps", {"status": "COMPENSATING"}),
    ("ck_saga_steps_no_undo_of_an_undo", "saga_steps", {"status": "COMPENSATED"}),
    ("ck_saga_steps_digest", "saga_steps", {"arguments": {}}),
    ("ck_saga_steps_digest", "saga_steps", {"arguments_digest": bytes(32)}),
    ("fk_saga_steps_saga_id", "saga_steps", {"saga_id": OTHER_ID}),
    ("fk_saga_steps_watch_id", "saga_steps", {"watch_id": OTHER_ID}),
    ("fk_saga_transcripts_saga_id", "saga_transcripts", {"place": 9}),
]
# A second row like the first.
TWICE = [
    ("pk_pauses", "pauses", {}),
    ("pk_api_keys", "api_keys", {"hash": bytes(31) + b"1"}),
    ("uq_api_keys_hash", "api_keys", {"id": OTHER_ID}),
    ("pk_webhook_endpoints", "webhook_endpoints", {}),
    ("uq_webhook_secrets_namespace", "webhook_secrets", {}),
    ("pk_webhook_messages", "webhook_messages", {}),
    ("pk_webhook_deliveries", "webhook_deliveries", {}),
    ("pk_webhook_attempts", "webhook_attempts", {}),
    ("pk_idempotency_keys", "idempotency_keys", {}),
    ("pk_definitions", "definitions", {"version": "2"}),
    ("uq_definitions_active", "definitions", {"id": OTHER_ID}),
    ("pk_sagas", "sagas", {"start_idempotency_key": "key-0002"}),
    ("uq_sagas_start_idempotency_key", "sagas", {"id": OTHER_ID}),
    ("pk_saga_steps", "saga_steps", {"span_id": 2, "compensates": 8, "watch_id": None}),
    ("uq_saga_steps_span_id", "saga_steps", {"place": 1, "compensates": 8, "watch_id": None}),
    ("uq_saga_steps_compensates", "saga_steps", {"place": 1, "span_id": 2, "watch_id": None}),
    ("uq_saga_steps_watch_id", "saga_steps", {"place": 1, "span_id": 2, "compensates": 8}),
    ("pk_saga_transcripts", "saga_transcripts", {}),
]


def put(store: Store, table: str, changes: dict[str, Any] | None = None) -> None:
    with store.transaction() as tx:
        tx.conn.execute(insert(metadata.tables[table]).values(GOOD[table] | (changes or {})))


@pytest.mark.parametrize("table", GOOD)
def test_the_rows_that_the_bad_ones_are_made_of_are_good(store: Store, table: str) -> None:
    for needed in [*NEEDS.get(table, []), table]:
        put(store, needed)
    assert one(store, f"SELECT count(*) FROM {table}") == 1


@pytest.mark.parametrize(("constraint", "table", "changes"), BAD)
def test_refused(store: Store, constraint: str, table: str, changes: dict[str, Any]) -> None:
    for needed in NEEDS.get(table, []):
        put(store, needed)
    with pytest.raises(IntegrityError) as caught:
        put(store, table, changes)
    assert caught.value.orig.diag.constraint_name == constraint  # type: ignore[union-attr]


@pytest.mark.parametrize(("constraint", "table", "changes"), TWICE)
def test_not_twice(store: Store, constraint: str, table: str, changes: dict[str, Any]) -> None:
    for needed in [*NEEDS.get(table, []), table]:
        put(store, needed)
    with pytest.raises(IntegrityError) as caught:
        put(store, table, changes)
    assert caught.value.orig.diag.constraint_name == constraint  # type: ignore[union-attr]


def test_an_endpoint_has_one_secret_that_is_not_retired(store: Store) -> None:
    """Any number of retired ones."""
    put(store, "webhook_endpoints")
    of_endpoint = {"namespace": None, "endpoint_id": ID}
    for retires_at in (NOW, NOW, None):
        put(store, "webhook_secrets", of_endpoint | {"retires_at": retires_at})
    with pytest.raises(IntegrityError) as caught:
        put(store, "webhook_secrets", of_endpoint)
    assert caught.value.orig.diag.constraint_name == "uq_webhook_secrets_endpoint"  # type: ignore[union-attr]


def test_its_creator_may_cancel_a_pause(store: Store) -> None:
    """The one decision that is theirs."""
    put(store, "pauses", DECIDED | {"decided_by": "key_agent", "status": "cancelled"})
    assert one(store, "SELECT status FROM pauses") == "cancelled"


def test_every_constraint_of_the_database_is_tested_here(store: Store) -> None:
    """Also those of a later migration."""
    query = """
        SELECT conname AS name FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
        UNION SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE%'
    """
    there = {row["name"] for row in rows(store, query)}
    # Keys that the database itself counts, and a table that is written in one statement only.
    apart = {"pk_webhook_secrets", "pk_worker_heartbeats", "alembic_version_pkc"}
    tested = {name for name, *_ in BAD} | {name for name, *_ in TWICE} | {"uq_webhook_secrets_endpoint"}
    assert there == tested | apart
