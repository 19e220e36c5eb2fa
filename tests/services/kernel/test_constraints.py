"""The impossible cannot be stored: one test for each CHECK, key and unique index, past all of our own code."""

from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from models.tables import metadata
from services.kernel.unit_of_work import Database
from tests.services.good_rows import GOOD, ID, NEEDS, NOW, OTHER_ID
from tests.services.world import change, linked, one, rows

DECIDED = {"status": "approved", "resolved_at": NOW, "decided_by": "key_anne"}
USED = DECIDED | {"consumed_at": NOW, "consumed_with": "run-0001"}
BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("ck_pauses_status", "pauses", DECIDED | {"status": "escalated"}),
    ("ck_pauses_resolved", "pauses", DECIDED | {"resolved_at": None}),
    ("ck_pauses_resolved", "pauses", {"resolved_at": NOW}),
    ("ck_pauses_decided", "pauses", DECIDED | {"decided_by": None}),
    ("ck_pauses_decided", "pauses", {"decided_by": "key_anne"}),
    ("ck_pauses_digest", "pauses", {"arguments": {"n": 1}}),
    ("ck_pauses_digest", "pauses", {"arguments_digest": bytes(32)}),
    ("ck_pauses_kind", "pauses", {"kind": "other"}),
    ("ck_pauses_on_timeout", "pauses", {"on_timeout": "wait"}),
    ("ck_pauses_no_self_decision", "pauses", DECIDED | {"decided_by": "key_agent"}),
    ("ck_pauses_no_self_decision", "pauses", DECIDED | {"decided_by": "key_agent", "status": "rejected"}),
    (
        "ck_pauses_no_self_decision",
        "pauses",
        DECIDED | {"decided_by": "key_agent", "review": {"approvals": 1, "allow_self": False}},
    ),
    ("ck_pauses_consumed", "pauses", {"consumed_at": NOW, "consumed_with": "run-0001"}),
    ("ck_pauses_consumed", "pauses", DECIDED | {"consumed_at": NOW}),
    ("ck_pauses_consumed", "pauses", DECIDED | {"consumed_with": "run-0001"}),
    ("ck_pauses_consumed", "pauses", USED | {"status": "rejected"}),
    ("ck_pauses_outcome", "pauses", DECIDED | {"outcome_at": NOW, "outcome_status": "failed"}),
    ("ck_pauses_outcome", "pauses", USED | {"outcome_at": NOW}),
    ("ck_pauses_outcome", "pauses", USED | {"outcome_status": "failed"}),
    ("ck_pauses_outcome_status", "pauses", USED | {"outcome_at": NOW, "outcome_status": "lost"}),
    ("ck_pauses_outcome_due", "pauses", DECIDED | {"outcome_due_at": NOW}),
    (
        "ck_pauses_outcome_due",
        "pauses",
        USED | {"outcome_due_at": NOW, "outcome_at": NOW, "outcome_status": "failed"},
    ),
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
    ("fk_callback_tokens_pause_id", "callback_tokens", {"pause_id": OTHER_ID}),
    ("ck_receipt_keys_retired", "receipt_keys", {"retired_at": NOW}),
    ("ck_retention_rules_days", "retention_rules", {"decision_days": 0}),
    ("ck_legal_holds_released", "legal_holds", {"released_at": NOW}),
    ("ck_audit_tiles_hashes", "audit_tiles", {"hashes": bytes(33)}),
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
    ("ck_users_role", "users", {"role": "agent"}),
    ("ck_users_namespaces", "users", {"namespaces": []}),
    ("ck_users_email", "users", {"email": "Anne@example.com"}),
    ("ck_users_no_delegate_to_oneself", "users", {"delegate_id": ID}),
    ("fk_users_delegate_id", "users", {"delegate_id": OTHER_ID}),
    ("ck_sessions_hash", "sessions", {"hash": b"the token itself"}),
    ("fk_sessions_user_id", "sessions", {"user_id": OTHER_ID}),
    ("ck_sign_in_links_hash", "sign_in_links", {"hash": b"the token itself"}),
    ("fk_sign_in_links_user_id", "sign_in_links", {"user_id": OTHER_ID}),
    ("fk_sign_in_links_pause_id", "sign_in_links", {"pause_id": OTHER_ID}),
    ("ck_notifications_lease", "notifications", {"lease_token": ID}),
    ("ck_notifications_lease", "notifications", {"leased_until": NOW}),
    ("ck_notifications_reason", "notifications", {"reason": "because"}),
    ("ck_notifications_status", "notifications", {"status": "lost", "completed_at": NOW}),
    ("ck_notifications_completed", "notifications", {"completed_at": NOW}),
    ("ck_notifications_completed", "notifications", {"status": "sent"}),
    ("ck_notifications_about_one", "notifications", {"pause_id": None}),
    ("ck_notifications_about_one", "notifications", {"saga_id": ID}),
    ("fk_notifications_saga_id", "notifications", {"pause_id": None, "saga_id": OTHER_ID}),
    ("fk_notifications_pause_id", "notifications", {"pause_id": OTHER_ID}),
    ("fk_notifications_user_id", "notifications", {"user_id": OTHER_ID}),
]
# A second row like the first.
TWICE = [
    ("pk_pauses", "pauses", {}),
    ("pk_api_keys", "api_keys", {"hash": bytes(31) + b"1"}),
    ("uq_api_keys_hash", "api_keys", {"id": OTHER_ID}),
    ("uq_api_keys_previous_hash", "api_keys", {"id": OTHER_ID, "hash": bytes(31) + b"1"}),
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
    ("uq_notifications_pause_id_once", "notifications", {"id": OTHER_ID}),
    ("pk_users", "users", {"email": "otto@example.com"}),
    ("uq_users_email", "users", {"id": OTHER_ID}),
    ("pk_groups", "groups", {}),
    ("pk_sessions", "sessions", {}),
    ("pk_sign_in_links", "sign_in_links", {}),
    ("pk_sign_in_failures", "sign_in_failures", {}),
    ("pk_namespace_settings", "namespace_settings", {}),
    ("pk_notifications", "notifications", {}),
    ("pk_audit_heads", "audit_heads", {}),
    ("pk_retention_rules", "retention_rules", {"message_days": 1}),
    ("pk_legal_holds", "legal_holds", {"reason": "another"}),
    ("pk_audit_tiles", "audit_tiles", {"hashes": bytes(32)}),
    ("pk_audit_checkpoints", "audit_checkpoints", {"root": bytes(32)}),
    ("pk_callback_tokens", "callback_tokens", {}),
    ("pk_receipt_keys", "receipt_keys", {"retired_at": NOW, "private_key": None}),
    ("uq_receipt_keys_current", "receipt_keys", {"kid": "other"}),
]


def put(database: Database, table: str, changes: dict[str, Any] | None = None) -> None:
    with database.transaction() as uow:
        uow.conn.execute(insert(metadata.tables[table]).values(GOOD[table] | (changes or {})))


@pytest.mark.parametrize("table", GOOD)
def test_the_rows_that_the_bad_ones_are_made_of_are_good(database: Database, table: str) -> None:
    for needed in [*NEEDS.get(table, []), table]:
        put(database, needed)
    assert one(database, f"SELECT count(*) FROM {table}") == 1


@pytest.mark.parametrize(("constraint", "table", "changes"), BAD)
def test_refused(database: Database, constraint: str, table: str, changes: dict[str, Any]) -> None:
    for needed in NEEDS.get(table, []):
        put(database, needed)
    with pytest.raises(IntegrityError) as caught:
        put(database, table, changes)
    assert caught.value.orig.diag.constraint_name == constraint  # type: ignore[union-attr]


@pytest.mark.parametrize(("constraint", "table", "changes"), TWICE)
def test_not_twice(database: Database, constraint: str, table: str, changes: dict[str, Any]) -> None:
    for needed in [*NEEDS.get(table, []), table]:
        put(database, needed)
    with pytest.raises(IntegrityError) as caught:
        put(database, table, changes)
    assert caught.value.orig.diag.constraint_name == constraint  # type: ignore[union-attr]


def test_an_endpoint_has_one_secret_that_is_not_retired(database: Database) -> None:
    """Any number of retired ones."""
    put(database, "webhook_endpoints")
    of_endpoint = {"namespace": None, "endpoint_id": ID}
    for retires_at in (NOW, NOW, None):
        put(database, "webhook_secrets", of_endpoint | {"retires_at": retires_at})
    with pytest.raises(IntegrityError) as caught:
        put(database, "webhook_secrets", of_endpoint)
    assert caught.value.orig.diag.constraint_name == "uq_webhook_secrets_endpoint"  # type: ignore[union-attr]


def test_an_identity_is_one_person_s(database: Database) -> None:
    """Any number of people have none."""
    known = {"oidc_subject": "https://id.example.com anne"}
    put(database, "users", known)
    with pytest.raises(IntegrityError) as caught:
        put(database, "users", known | {"id": OTHER_ID, "email": "otto@example.com"})
    assert caught.value.orig.diag.constraint_name == "uq_users_oidc_subject"  # type: ignore[union-attr]


def test_operators_are_notified_once_of_one_occasion(database: Database) -> None:
    for needed in ("users", "definitions", "sagas"):
        put(database, needed)
    of_saga = {"pause_id": None, "saga_id": ID}
    put(database, "notifications", of_saga)
    with pytest.raises(IntegrityError) as caught:
        put(database, "notifications", of_saga | {"id": OTHER_ID})
    assert caught.value.orig.diag.constraint_name == "uq_notifications_saga_id_once"  # type: ignore[union-attr]


def test_its_creator_may_decide_where_the_policy_says_so(database: Database) -> None:
    put(database, "pauses", DECIDED | {"decided_by": "key_agent", "review": {"approvals": 1, "allow_self": True}})
    assert one(database, "SELECT status FROM pauses") == "approved"


def test_its_creator_may_cancel_a_pause(database: Database) -> None:
    """The one decision that is theirs."""
    put(database, "pauses", DECIDED | {"decided_by": "key_agent", "status": "cancelled"})
    assert one(database, "SELECT status FROM pauses") == "cancelled"


def test_the_audit_log_counts_and_chains_by_itself(database: Database) -> None:
    """Whatever the writer says; each namespace for itself."""
    for namespace in ("default", "default", "other"):
        put(database, "audit_events", {"namespace": namespace})
    found = rows(linked(database), "SELECT namespace, seq, hash, entry::text FROM audit_events ORDER BY namespace, seq")
    assert [(row["namespace"], row["seq"]) for row in found] == [("default", 1), ("default", 2), ("other", 1)]
    first = sha256(bytes(32) + b"1:" + found[0]["entry"].encode()).digest()
    second = sha256(first + b"2:" + found[1]["entry"].encode()).digest()
    assert [bytes(row["hash"]) for row in found] == [first, second, first]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_events SET entry = '{}'", "DELETE FROM audit_events", "TRUNCATE audit_events"],
)
def test_the_audit_log_is_only_added_to(database: Database, statement: str) -> None:
    put(database, "audit_events")
    put(database, "audit_unlinked")
    for table in ("audit_events", "audit_unlinked"):
        with pytest.raises(DBAPIError, match="append-only"):
            change(database, statement.replace("audit_events", table))
    assert one(linked(database), "SELECT count(*) FROM audit_events") == 2


def test_a_chain_wound_back_does_not_fork(database: Database) -> None:
    """The head is an ordinary row; the entries are not."""
    put(database, "audit_events")
    change(database, "UPDATE audit_heads SET seq = 0")
    with pytest.raises(IntegrityError) as caught:
        put(database, "audit_events")
    assert caught.value.orig.diag.constraint_name == "pk_audit_events"  # type: ignore[union-attr]


def test_every_constraint_of_the_database_is_tested_here(database: Database) -> None:
    """Also those of a later migration."""
    query = """
        SELECT conname AS name FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
        UNION SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE%'
    """
    there = {row["name"] for row in rows(database, query)}
    # Keys that the database itself counts, and tables that are written in one statement only.
    apart = {
        "pk_webhook_secrets",
        "pk_audit_unlinked",
        "pk_worker_heartbeats",
        "pk_set_aside",
        "pk_webhook_failures",
        "alembic_version_pkc",
    }
    alone = {"uq_webhook_secrets_endpoint", "uq_users_oidc_subject", "pk_audit_events", "uq_notifications_saga_id_once"}
    tested = {name for name, *_ in BAD} | {name for name, *_ in TWICE} | alone
    assert there == tested | apart
