"""No list, count, sweep or deletion reads a big table from end to end, according to the plans of PostgreSQL."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint, create_engine, event, text

from cli.devstack import Stack
from domain.delivery.notification import NotificationStatus
from domain.delivery.webhook import DeliveryStatus
from domain.identity.access import Principal, Role
from domain.manifests.definition import StepKind
from domain.pauses.consumption import MISSING
from domain.pauses.pause import Status
from domain.sagas.saga import SagaStatus
from models.tables import metadata
from services.kernel import leases
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.log.audit import EventFilter, list_events
from services.notifications.queries import NotificationFilter, list_notifications
from services.notifications.worker import sweep_notifications
from services.operations import statistics
from services.operations.health import backlog
from services.operations.retention import Pruner, PruneReport
from services.pauses.execution import sweep_missing_outcomes
from services.pauses.lifecycle import expire_due
from services.pauses.queries import Filter, count_needing_look, list_pauses
from services.pauses.reminders import attend_due
from services.reviews.decided import list_decided
from services.reviews.held_steps import ReviewFilter, pending_reviews
from services.reviews.inbox import InboxFilter, count_waiting, inbox
from services.sagas.engine import sweep_sagas
from services.sagas.queries import SagaFilter, count_needing_operator, list_sagas
from services.webhooks.deliveries import DeliveryFilter, list_deliveries
from services.webhooks.endpoint_backlog import sweep_endpoints
from services.webhooks.worker import sweep_deliveries
from tests.conftest import TEMPLATE, new_database
from tests.services.world import ADMIN, AGENT, REVIEWER, one, someone

BIG = {"pauses", "sagas", "saga_steps", "audit_events", "webhook_deliveries", "webhook_messages", "notifications"}
ROWS, SEARCHED, BATCH = 20_000, 50, 50
WEEK_AGO = datetime.now(UTC) - timedelta(days=7)
ONE = UUID(int=1)
TWO_NAMESPACES = someone(Role.OPERATOR, "default", "other")

# A value for each field of each filter. A new field without one fails `test_each_filter_has_a_value`.
VALUES: dict[str, Any] = {
    "namespace": "default",
    "kind": "agent",
    "tag": "red",
    "text": "deploy",
    "external_id": "run-1",
    "door": "mcp",
    "created_after": WEEK_AGO,
    "created_before": WEEK_AGO,
    "decided": True,
    "decided_by": "me",
    "decided_after": WEEK_AGO,
    "decided_before": WEEK_AGO,
    "consumed": False,
    "outcome": MISSING,
    "mine": True,
    "trace_id": ONE,
    "in_flight": True,
    "failed": True,
    "needs_operator": True,
    "statuses": (SagaStatus.AWAITING_HUMAN,),
    "endpoint_id": f"ep_{ONE.hex}",
    "watch_id": f"wch_{ONE.hex}",
    "type": "pause.created",
    "recipient": "anne@example.test",
    "subject": f"wch_{ONE.hex}",
    "by": "key_agent",
    "since": WEEK_AGO,
    "until": WEEK_AGO,
}
STATUSES: dict[type[Any], Any] = {
    Filter: Status.PENDING,
    DeliveryFilter: DeliveryStatus.PENDING,
    NotificationFilter: NotificationStatus.FAILED,
}
KINDS: dict[type[Any], Any] = {ReviewFilter: StepKind.REASON}

Listed = Callable[[Database, Principal, Any, Page], object]
# Each list with its filter, and the callers that may read it.
LISTS: dict[str, tuple[Listed, type[Any], tuple[Principal, ...]]] = {
    "pauses": (list_pauses, Filter, (ADMIN, REVIEWER, TWO_NAMESPACES, AGENT)),
    "decided": (list_decided, Filter, (ADMIN, REVIEWER, TWO_NAMESPACES)),
    "inbox": (inbox, InboxFilter, (ADMIN, REVIEWER, TWO_NAMESPACES)),
    "reviews": (pending_reviews, ReviewFilter, (ADMIN, REVIEWER, TWO_NAMESPACES)),
    "sagas": (list_sagas, SagaFilter, (ADMIN, REVIEWER, TWO_NAMESPACES)),
    "deliveries": (list_deliveries, DeliveryFilter, (ADMIN, TWO_NAMESPACES)),
    "notifications": (list_notifications, NotificationFilter, (ADMIN, TWO_NAMESPACES)),
    "audit": (list_events, EventFilter, (ADMIN,)),
}


def value_of(kind: type[Any], name: str) -> Any:
    if name == "status":
        return STATUSES[kind]
    return KINDS.get(kind, VALUES["kind"]) if name == "kind" else VALUES[name]


def filters(kind: type[Any]) -> Iterator[dict[str, Any]]:
    """Yield no filter, each one, and each two together."""
    names = [field.name for field in fields(kind)]
    for number in (0, 1, 2):
        for some in combinations(names, number):
            yield {name: value_of(kind, name) for name in some}


# The id that a row of this time has.
ID = "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000' || lpad(n::text, 12, '0'))::uuid"
EACH = "FROM (SELECT n, now() - (:rows - n) * interval '20 minutes' AS at FROM generate_series(1, :rows) n) each"
FILL = (
    f"""INSERT INTO pauses (id, created_at, resolved_at, revision, priority, namespace, kind, status, on_timeout,
        created_by, action, tags, door, external_id, decided_by, stage, reminders)
    SELECT {ID}, at, CASE WHEN n % 50 > 0 THEN at END, 1, 0, 'ns-' || n % 9,
        CASE n % 3 WHEN 0 THEN 'step' ELSE 'agent' END, CASE WHEN n % 50 > 0 THEN 'approved' ELSE 'pending' END,
        'expire', 'key_' || n % 99, 'Restart the service ' || n, ARRAY['team-' || n % 99],
        CASE n % 2 WHEN 0 THEN 'cli' END, CASE n % 5 WHEN 0 THEN 'name-' || n END,
        CASE WHEN n % 50 > 0 THEN 'usr_' || n % 20 END, 0, 0 {EACH}""",
    """INSERT INTO definitions SELECT :id, 'saga', 'default', 'flow', '1.0.0', true, '{}',
        decode(repeat('00', 32), 'hex'), now(), now(), 'key_admin', false""",
    f"""INSERT INTO sagas (id, created_at, ended_at, definition_id, namespace, status, created_by, workers, input,
        needs_operator)
    SELECT gen_random_uuid(), at, CASE WHEN n % 50 > 0 THEN at END, :id, 'ns-' || n % 9,
        CASE WHEN n % 50 > 0 THEN 'COMPLETED' ELSE 'AWAITING_HUMAN' END, 'key_1', '{{}}', '{{}}', n % 500 = 0 {EACH}""",
    """INSERT INTO saga_steps (saga_id, place, attempt, retries, span_id, call_began, unsure, may_repeat, step_id,
        status)
    SELECT id, 0, 1, 0, row_number() OVER (), true, false, false, 'first', 'COMPLETED' FROM sagas""",
    f"INSERT INTO webhook_messages SELECT {ID}, 'ns-' || n % 9, 'pause.approved', repeat('x', 200), at {EACH}",
    """INSERT INTO webhook_deliveries (id, message_id, namespace, pause_id, url, lane, status, attempts, retry,
        created_at, completed_at, due_at, hint_at)
    SELECT id, id, namespace, id, 'https://x.test', 'https://x.test ' || namespace, 'delivered', 1, 0, created_at,
        created_at, created_at, created_at FROM webhook_messages""",
    """INSERT INTO notifications (id, pause_id, once, namespace, recipient, channel, reason, status, attempts,
        created_at, completed_at, due_at, hint_at)
    SELECT id, id, id, namespace, 'p@x.test', 'json://x', 'waiting', 'sent', 1, created_at, created_at, created_at,
        created_at FROM pauses""",
    "ALTER TABLE audit_events DISABLE TRIGGER USER",
    f"""INSERT INTO audit_events (namespace, seq, hash, entry)
    SELECT 'default', n, decode(repeat('00', 32), 'hex'), json_build_object('at', to_char(at, 'YYYY-MM-DD"T"HH24:MI'),
        'type', 'pause.approved', 'subject', 'wch_' || n, 'by', 'usr_' || n % 9, 'after', repeat('f', 300)) {EACH}""",
    "ALTER TABLE audit_events ENABLE TRIGGER USER",
    """INSERT INTO webhook_endpoints (id, url, description, event_types, namespaces, headers, enabled, created_at,
        updated_at, deleted_at)
    VALUES (:id, 'https://x.test', '', '{}', '{default}', '{}', false, now(), now(), now())""",
    *(
        f"UPDATE {table} SET {due} WHERE id IN (SELECT id FROM {table} WHERE {which} ORDER BY id LIMIT 9)"
        for table, due, which in (
            ("sagas", "due_at = now(), hint_at = now()", "ended_at IS NULL"),
            ("webhook_deliveries", "status = 'pending', completed_at = NULL", "true"),
            ("webhook_deliveries", f"endpoint_id = '{ONE}'", "status = 'delivered'"),
            ("notifications", "status = 'pending', completed_at = NULL", "true"),
            ("pauses", "expires_at = now()", "status = 'pending'"),
            ("pauses", "attend_at = now()", "status = 'pending' AND expires_at IS NULL"),
            ("pauses", "consumed_at = now(), consumed_with = 'x', outcome_due_at = now()", "status = 'approved'"),
        )
    ),
    "ANALYZE",
)


@pytest.fixture(scope="module")
def filled(servers: Stack) -> Iterator[str]:
    """A database of its own, with some thousand rows in each table. Deleted ones would slow down the tests after it."""
    with new_database(servers, TEMPLATE) as url:
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
        with engine.begin() as conn:
            for statement in FILL:
                conn.execute(text(statement), {"rows": ROWS, "id": ONE})
        engine.dispose()
        yield url


@pytest.fixture
def database_url(filled: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let a page or a batch read few of the rows: the proportion of a big table."""
    for module in ("kernel.pagination", "reviews.inbox", "reviews.held_steps", "pauses.queries", "log.audit"):
        monkeypatch.setattr(f"services.{module}.SEARCHED", SEARCHED)
    monkeypatch.setattr("services.operations.retention.BATCH", BATCH)
    return filled


def whole_tables(database: Database, work: Callable[[], object]) -> list[str]:
    """Return the plans of the work's statements that read a big table sequentially."""
    sent: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            sent.append((statement, parameters[0] if isinstance(parameters, list) else parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert sent
    found = []
    with database.reading() as conn:
        for statement, parameters in sent:
            plan = conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()[0]["Plan"]
            scans = [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
            found += [f"{node['Relation Name']}: {statement}" for node in scans if node["Relation Name"] in BIG]
    return found


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(inner for child in plan.get("Plans", ()) for inner in nodes(child))]


def test_each_filter_has_a_value() -> None:
    for _, kind, _ in LISTS.values():
        for given in filters(kind):
            kind(**given)


def test_no_list_reads_a_whole_table(database: Database) -> None:
    """Each filter for each caller, on the first page and on a later one; each two filters; and the counts."""
    found = []

    def check(listed: Listed, by: Principal, wanted: Any, page: Page) -> None:
        found.extend(
            f"{wanted} {by.role}: {each}" for each in whole_tables(database, lambda: listed(database, by, wanted, page))
        )

    for listed, kind, callers in LISTS.values():
        for given in filters(kind):
            wanted = kind(**given)
            if len(given) > 1:
                check(listed, callers[0], wanted, Page())
            else:
                for by in callers:
                    check(listed, by, wanted, Page())
                check(listed, callers[0], wanted, Page(after=ONE))
    for by in (ADMIN, REVIEWER):
        for count in (backlog, count_needing_look, count_needing_operator):
            found += whole_tables(database, lambda: count(database, by))  # noqa: B023
        found += whole_tables(database, lambda: count_waiting(database, by, InboxFilter()))  # noqa: B023
    assert not found, "\n".join([f"{len(found)} plans", *found[:10]])


def end_endpoint(database: Database) -> int:
    """Detach the deliveries of the deleted endpoint, and delete it. Return 1 the first time."""
    before = one(database, "SELECT count(*) FROM webhook_endpoints")
    sweep_endpoints(database)
    return int(before - one(database, "SELECT count(*) FROM webhook_endpoints"))


SWEEPS: tuple[Callable[[Database], int], ...] = (
    *(sweep_deliveries, sweep_sagas, sweep_notifications, end_endpoint),
    *(expire_due, attend_due, sweep_missing_outcomes),
)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_no_sweep_reads_a_whole_table(database: Database, sweep: Callable[[Database], int]) -> None:
    """It finds some due rows and changes them, then none."""
    done: list[int] = []
    assert whole_tables(database, lambda: done.append(sweep(database))) == []
    assert done[0] > 0
    assert whole_tables(database, lambda: sweep(database)) == []


def test_no_heartbeat_reads_a_whole_table(database: Database) -> None:
    """It renews leases and stores the progress of tool calls. A successor ends the leases of a dead process."""
    with database.transaction() as uow:
        saga_id = uow.conn.execute(text("SELECT id FROM sagas WHERE due_at IS NOT NULL LIMIT 1")).scalar_one()
        lease = leases.claim(uow, leases.SAGA, saga_id)
    assert lease is not None
    held = [lease, *(leases.Lease(kind, ONE, ONE) for kind in (leases.WEBHOOK, leases.NOTIFICATION))]
    assert whole_tables(database, lambda: leases.renew(database, held, {lease.token: {"progress": 1}})) == []
    assert whole_tables(database, lambda: leases.release(database, [lease.token.bytes[: leases.HOLDER_BYTES]])) == []


def test_no_chart_reads_a_whole_table(database: Database) -> None:
    for by in (ADMIN, someone(Role.OPERATOR, "ns-1"), TWO_NAMESPACES):
        for chart in (statistics.waiting, statistics.decisions, statistics.webhooks):
            assert whole_tables(database, lambda: chart(database, by)) == []  # noqa: B023


def test_no_deletion_reads_a_whole_table(database: Database) -> None:
    """It deletes a few rows of each table, in more than one batch; the next pass finds nothing to delete."""
    for deletes in (True, False):
        pruner = Pruner(database, timedelta(minutes=20 * (ROWS - 3 * BATCH)))
        reports: list[PruneReport] = []
        assert whole_tables(database, lambda: reports.append(pruner.run(60))) == []  # noqa: B023
        for table in ("pauses", "sagas", "webhook_messages"):
            assert (reports[0].deleted[table] > 0) == deletes


def test_each_reference_has_an_index() -> None:
    """PostgreSQL looks for referring rows at each deletion, by statements of its own."""
    slow = []
    for table in map(metadata.tables.__getitem__, BIG):
        indexes = [[each.name for each in index.columns] for index in table.indexes]
        keys = [
            [each.name for each in key.columns]
            for key in table.constraints
            if isinstance(key, PrimaryKeyConstraint | UniqueConstraint)
        ]
        for key in table.foreign_key_constraints:
            if not any(index[: len(key.column_keys)] == key.column_keys for index in (*indexes, *keys)):
                slow.append(f"{table.name}: {key.column_keys}")
    assert slow == []
