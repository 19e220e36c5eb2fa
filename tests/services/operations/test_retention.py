"""Pruning deletes old, finished rows and nothing else."""

from datetime import timedelta

from domain.identity.access import Role
from domain.sagas.outcome import Failed
from domain.sagas.step import Error
from services.identity.login_throttle import count_attempt
from services.identity.people import PersonChange, create_person, make_sign_in_link
from services.identity.sessions import SignInOrigin
from services.identity.sign_in_links import use_link
from services.kernel.idempotency import IdempotentRequest
from services.kernel.leases import stamp_worker
from services.kernel.unit_of_work import Database
from services.operations.retention import BATCH
from services.sagas.recovery import resolve
from services.webhooks.signing import namespace_secret, rotate_namespace_secret
from tests.services.by_watch_id import decide_pause
from tests.services.saga_world import approve_held, ref, reject_held, start, step, tools, undo_of, work
from tests.services.world import (
    ADMIN,
    AGENT,
    OPERATOR,
    REVIEWER,
    an_endpoint,
    approve,
    change,
    claim,
    deliveries,
    finish,
    one,
    post,
    prune,
    rows,
)

RETENTION = timedelta(days=90)


def test_nothing_that_is_young(database: Database) -> None:
    """Whatever state it is in."""
    an_endpoint(database)
    decide_pause(database, REVIEWER, post(database, idempotency=IdempotentRequest("key-0001", bytes(32))), approve())
    finish(database, claim(database, deliveries(database)[0]))
    rotate_namespace_secret(database, ADMIN, "default")
    with database.transaction() as uow:
        stamp_worker(uow, "worker-1")
    assert set(prune(database, RETENTION).values()) == {0}


def test_pauses_only_when_resolved_long_ago(database: Database) -> None:
    """A pause that waits is kept however old; one that was resolved is kept from then on."""
    waiting, lately, long_ago = post(database), post(database), post(database)
    for watch_id in (lately, long_ago):
        decide_pause(database, REVIEWER, watch_id, approve())
    change(database, "UPDATE pauses SET created_at = created_at - interval '400 days'")
    old = "UPDATE pauses SET resolved_at = resolved_at - interval '91 days' WHERE id = :id"
    change(database, old, id=long_ago.removeprefix("wch_"))
    assert prune(database, RETENTION)["pauses"] == 1
    left = {f"wch_{row['id'].hex}" for row in rows(database, "SELECT id FROM pauses")}
    assert left == {waiting, lately}


def test_messages_with_what_belongs_to_them_but_not_those_that_wait(database: Database) -> None:
    """Deliveries and attempts go with their message; one delivery that waits keeps it all."""
    an_endpoint(database)
    an_endpoint(database)
    post(database)
    first, second = deliveries(database)
    finish(database, claim(database, first))
    change(database, "UPDATE webhook_messages SET created_at = created_at - interval '91 days'")
    assert prune(database, RETENTION)["webhook_messages"] == 0
    finish(database, claim(database, second), 500, schedule=())
    assert prune(database, RETENTION)["webhook_messages"] == 1
    for table in ("webhook_messages", "webhook_deliveries", "webhook_attempts"):
        assert one(database, f"SELECT count(*) FROM {table}") == 0
    assert one(database, "SELECT count(*) FROM webhook_endpoints") == 2


def test_retired_secrets_and_silent_workers(database: Database) -> None:
    """They go as soon as they cannot be needed."""
    namespace_secret(database, AGENT, "default")
    newest = rotate_namespace_secret(database, ADMIN, "default")
    with database.transaction() as uow:
        stamp_worker(uow, "silent")
        stamp_worker(uow, "alive")
    change(database, "UPDATE webhook_secrets SET retires_at = now() - interval '1 s' WHERE retires_at IS NOT NULL")
    change(database, "UPDATE worker_heartbeats SET seen_at = now() - interval '61 min' WHERE worker = 'silent'")
    pruned = prune(database, RETENTION)
    assert (pruned["webhook_secrets"], pruned["worker_heartbeats"]) == (1, 1)
    assert one(database, "SELECT secret FROM webhook_secrets") == newest
    assert one(database, "SELECT worker FROM worker_heartbeats") == "alive"


def test_more_than_one_batch(database: Database) -> None:
    """All of it, in transactions that stay short."""
    values = "'default', n::text, '\\x00'::bytea, '{}', now() - interval '3 days'"
    change(database, f"INSERT INTO idempotency_keys SELECT {values} FROM generate_series(1, :n) n", n=2 * BATCH + 1)
    assert prune(database, RETENTION)["idempotency_keys"] == 2 * BATCH + 1
    assert one(database, "SELECT count(*) FROM idempotency_keys") == 0


def test_sagas_with_what_belongs_to_them(database: Database) -> None:
    """One that has not ended keeps its pauses, however long ago they were decided; an ended one goes with them."""
    ended, waits = (start(database, step("a", hitl=True), step("b", hitl=True)) for _ in range(2))
    for trace_id in (ended, waits):
        work(database, trace_id, tools())
        approve_held(database, trace_id)
        work(database, trace_id, tools())
    reject_held(database, ended)
    work(database, ended, tools())
    change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '91 days'")
    assert prune(database, RETENTION)["pauses"] == 0
    change(database, "UPDATE sagas SET ended_at = ended_at - interval '91 days'")
    pruned = prune(database, RETENTION)
    assert (pruned["sagas"], pruned["pauses"]) == (1, 2)
    assert one(database, "SELECT id FROM sagas") == waits
    assert one(database, "SELECT count(*) FROM saga_steps") == 2


def test_no_saga_that_an_operator_has_not_seen_to(database: Database) -> None:
    """Its compensation failed, and no operator has resolved it yet."""
    trace_id = start(database, step("a", undo=True), step("b"))
    refused = Failed(Error("TOOL_INVOKE_FAILED", "no"))
    work(database, trace_id, tools(do_b=refused, undo_a=refused))
    change(database, "UPDATE sagas SET ended_at = ended_at - interval '91 days'")
    assert prune(database, RETENTION)["sagas"] == 0
    which = ref(trace_id, undo_of(database, trace_id, "a"))
    resolve(database, OPERATOR, which, done=False, output=None, evidence="written off")
    assert prune(database, RETENTION)["sagas"] == 1


def test_sessions_links_and_failures_that_count_no_more(database: Database) -> None:
    """And none that still does."""
    new = PersonChange(email="ann@example.com", name="Ann", role=Role.REVIEWER, namespaces=("default",))
    person_id = create_person(database, ADMIN, new)[0]["id"]
    here = SignInOrigin("192.0.2.1", None)
    for _ in range(3):
        use_link(database, make_sign_in_link(database, ADMIN, person_id)["url"].rpartition("/")[2], here)
    for address in ("192.0.2.1", "192.0.2.2"):
        count_attempt(database, "ann@example.com", address)
    assert set(prune(database, RETENTION).values()) == {0}
    one_session = "(SELECT hash FROM sessions ORDER BY hash {} LIMIT 1)"
    change(database, f"UPDATE sessions SET expires_at = now() WHERE hash = {one_session.format('ASC')}")
    change(database, f"UPDATE sessions SET seen_at = now() - interval '12 h' WHERE hash = {one_session.format('DESC')}")
    one_link = "(SELECT hash FROM sign_in_links ORDER BY hash LIMIT 1)"
    change(database, f"UPDATE sign_in_links SET expires_at = now() - interval '30 d' WHERE hash = {one_link}")
    change(database, "UPDATE sign_in_failures SET since = now() - interval '1 h' WHERE subject = 'address:192.0.2.1'")
    went = prune(database, RETENTION)
    assert (went["sessions"], went["sign_in_links"], went["sign_in_failures"]) == (2, 1, 1)
    assert one(database, "SELECT count(*) FROM sessions") == 1
