"""What is pruned is old and finished; nothing else."""

from datetime import timedelta

from domain.identity.access import Role
from domain.sagas.outcome import Failed
from domain.sagas.step import Error
from services.identity.login_throttle import count_attempt
from services.identity.people import PersonChange, create_person, make_sign_in_link
from services.identity.sessions import From
from services.identity.sign_in_links import use_link
from services.kernel.idempotency import Once
from services.kernel.leases import stamp_worker
from services.kernel.unit_of_work import Store
from services.operations.retention import BATCH, prune
from services.reviews.decisions import decide_pause
from services.sagas.recovery import resolve
from services.webhooks.signing import namespace_secret, rotate_namespace_secret
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
    rows,
)

RETENTION = timedelta(days=90)


def test_nothing_that_is_young(store: Store) -> None:
    """Whatever state it is in."""
    an_endpoint(store)
    decide_pause(store, REVIEWER, post(store, once=Once("key-0001", bytes(32))), approve())
    finish(store, claim(store, deliveries(store)[0]))
    rotate_namespace_secret(store, ADMIN, "default")
    with store.transaction() as tx:
        stamp_worker(tx, "worker-1")
    assert set(prune(store, RETENTION).values()) == {0}


def test_pauses_only_when_resolved_long_ago(store: Store) -> None:
    """A pause that waits is kept however old; one that was resolved is kept from then on."""
    waiting, lately, long_ago = post(store), post(store), post(store)
    for watch_id in (lately, long_ago):
        decide_pause(store, REVIEWER, watch_id, approve())
    change(store, "UPDATE pauses SET created_at = created_at - interval '400 days'")
    old = "UPDATE pauses SET resolved_at = resolved_at - interval '91 days' WHERE id = :id"
    change(store, old, id=long_ago.removeprefix("wch_"))
    assert prune(store, RETENTION)["pauses"] == 1
    left = {f"wch_{row['id'].hex}" for row in rows(store, "SELECT id FROM pauses")}
    assert left == {waiting, lately}


def test_messages_with_what_belongs_to_them_but_not_those_that_wait(store: Store) -> None:
    """Deliveries and attempts go with their message; one delivery that waits keeps it all."""
    an_endpoint(store)
    an_endpoint(store)
    post(store)
    first, second = deliveries(store)
    finish(store, claim(store, first))
    change(store, "UPDATE webhook_messages SET created_at = created_at - interval '91 days'")
    assert prune(store, RETENTION)["webhook_messages"] == 0
    finish(store, claim(store, second), 500, schedule=())
    assert prune(store, RETENTION)["webhook_messages"] == 1
    for table in ("webhook_messages", "webhook_deliveries", "webhook_attempts"):
        assert one(store, f"SELECT count(*) FROM {table}") == 0
    assert one(store, "SELECT count(*) FROM webhook_endpoints") == 2


def test_retired_secrets_and_silent_workers(store: Store) -> None:
    """As soon as nobody can need them."""
    namespace_secret(store, AGENT, "default")
    newest = rotate_namespace_secret(store, ADMIN, "default")
    with store.transaction() as tx:
        stamp_worker(tx, "silent")
        stamp_worker(tx, "alive")
    change(store, "UPDATE webhook_secrets SET retires_at = now() - interval '1 s' WHERE retires_at IS NOT NULL")
    change(store, "UPDATE worker_heartbeats SET seen_at = now() - interval '61 min' WHERE worker = 'silent'")
    pruned = prune(store, RETENTION)
    assert (pruned["webhook_secrets"], pruned["worker_heartbeats"]) == (1, 1)
    assert one(store, "SELECT secret FROM webhook_secrets") == newest
    assert one(store, "SELECT worker FROM worker_heartbeats") == "alive"


def test_more_than_one_batch(store: Store) -> None:
    """All of it, in transactions that stay short."""
    values = "'default', n::text, '\\x00'::bytea, '{}', now() - interval '3 days'"
    change(store, f"INSERT INTO idempotency_keys SELECT {values} FROM generate_series(1, :n) n", n=2 * BATCH + 1)
    assert prune(store, RETENTION)["idempotency_keys"] == 2 * BATCH + 1
    assert one(store, "SELECT count(*) FROM idempotency_keys") == 0


def test_sagas_with_what_belongs_to_them(store: Store) -> None:
    """One that has not ended keeps its pauses, however long ago they were decided; an ended one goes with them."""
    ended, waits = (start(store, step("a", hitl=True), step("b", hitl=True)) for _ in range(2))
    for trace_id in (ended, waits):
        work(store, trace_id, tools())
        approve_held(store, trace_id)
        work(store, trace_id, tools())
    reject_held(store, ended)
    work(store, ended, tools())
    change(store, "UPDATE pauses SET resolved_at = resolved_at - interval '91 days'")
    assert prune(store, RETENTION)["pauses"] == 0
    change(store, "UPDATE sagas SET ended_at = ended_at - interval '91 days'")
    pruned = prune(store, RETENTION)
    assert (pruned["sagas"], pruned["pauses"]) == (1, 2)
    assert one(store, "SELECT id FROM sagas") == waits
    assert one(store, "SELECT count(*) FROM saga_steps") == 2


def test_no_saga_that_an_operator_has_not_seen_to(store: Store) -> None:
    """Its undo failed, and nobody has said yet what is to become of it."""
    trace_id = start(store, step("a", undo=True), step("b"))
    refused = Failed(Error("TOOL_INVOKE_FAILED", "no"))
    work(store, trace_id, tools(do_b=refused, undo_a=refused))
    change(store, "UPDATE sagas SET ended_at = ended_at - interval '91 days'")
    assert prune(store, RETENTION)["sagas"] == 0
    which = ref(trace_id, undo_of(store, trace_id, "a"))
    resolve(store, OPERATOR, which, done=False, output=None, evidence="written off")
    assert prune(store, RETENTION)["sagas"] == 1


def test_sessions_links_and_failures_that_count_no_more(store: Store) -> None:
    """And none that still does."""
    new = PersonChange(email="ann@example.com", name="Ann", role=Role.REVIEWER, namespaces=("default",))
    person_id = create_person(store, ADMIN, new)[0]["id"]
    here = From("192.0.2.1", None)
    for _ in range(3):
        use_link(store, make_sign_in_link(store, ADMIN, person_id)["url"].rpartition("/")[2], here)
    for address in ("192.0.2.1", "192.0.2.2"):
        count_attempt(store, "ann@example.com", address)
    assert set(prune(store, RETENTION).values()) == {0}
    one_session = "(SELECT hash FROM sessions ORDER BY hash {} LIMIT 1)"
    change(store, f"UPDATE sessions SET expires_at = now() WHERE hash = {one_session.format('ASC')}")
    change(store, f"UPDATE sessions SET seen_at = now() - interval '12 h' WHERE hash = {one_session.format('DESC')}")
    one_link = "(SELECT min(hash) FROM sign_in_links)"
    change(store, f"UPDATE sign_in_links SET expires_at = now() - interval '30 d' WHERE hash = {one_link}")
    change(store, "UPDATE sign_in_failures SET since = now() - interval '1 h' WHERE subject = 'address:192.0.2.1'")
    went = prune(store, RETENTION)
    assert (went["sessions"], went["sign_in_links"], went["sign_in_failures"]) == (2, 1, 1)
    assert one(store, "SELECT count(*) FROM sessions") == 1
