"""No list reads a big table from end to end, whatever its filters, according to the plans of PostgreSQL."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event

from domain.delivery.notification import NotificationStatus
from domain.delivery.webhook import DeliveryStatus
from domain.identity.access import Principal, Role
from domain.manifests.definition import StepKind
from domain.pauses.consumption import MISSING
from domain.pauses.pause import Status
from domain.sagas.saga import SagaStatus
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.log.audit import EventFilter, list_events
from services.notifications.queries import NotificationFilter, list_notifications
from services.operations.health import backlog
from services.pauses.lifecycle import Filter, count_needing_look, list_pauses
from services.reviews.decided import list_decided
from services.reviews.held_steps import ReviewFilter, pending_reviews
from services.reviews.inbox import InboxFilter, count_waiting, inbox
from services.sagas.queries import SagaFilter, count_needing_operator, list_sagas
from services.webhooks.deliveries import DeliveryFilter, list_deliveries
from tests.services.world import ADMIN, AGENT, REVIEWER, change, someone

BIG = {"pauses", "sagas", "saga_steps", "audit_events", "webhook_deliveries", "webhook_messages", "notifications"}
ROWS, SEARCHED = 20_000, 50
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


@pytest.fixture
def full(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Tables of some thousand rows, of which a page may read few: the proportion of a big table."""
    for module in ("kernel.pagination", "reviews.inbox", "reviews.held_steps", "pauses.lifecycle", "log.audit"):
        monkeypatch.setattr(f"services.{module}.SEARCHED", SEARCHED)
    rows = "FROM generate_series(1, :n) n"
    change(
        database,
        f"""INSERT INTO pauses (id, created_at, resolved_at, revision, priority, namespace, kind, status, on_timeout,
            created_by, action, tags, door, external_id, decided_by, stage, reminders)
        SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now() - (:n - n) * interval '1 minute',
            CASE WHEN n % 50 > 0 THEN now() - (:n - n) * interval '1 minute' END,
            1, 0, 'ns-' || n % 9, CASE n % 3 WHEN 0 THEN 'step' ELSE 'agent' END,
            CASE WHEN n % 50 > 0 THEN 'approved' ELSE 'pending' END, 'expire', 'key_' || n % 99,
            'Restart the service ' || n, ARRAY['team-' || n % 99], CASE n % 2 WHEN 0 THEN 'cli' END,
            CASE n % 5 WHEN 0 THEN 'name-' || n END, CASE WHEN n % 50 > 0 THEN 'usr_' || n % 20 END, 0, 0 {rows}""",
        n=ROWS,
    )
    change(
        database,
        """INSERT INTO definitions SELECT :id, 'saga', 'default', 'flow', '1.0.0', true, '{}',
        decode(repeat('00', 32), 'hex'), now(), now(), 'key_admin', false""",
        id=ONE,
    )
    change(
        database,
        f"""INSERT INTO sagas (id, created_at, ended_at, definition_id, namespace, status, created_by, workers, input,
            needs_operator)
        SELECT gen_random_uuid(), now() - n * interval '1 minute', CASE WHEN n % 50 > 0 THEN now() END, :id,
            'ns-' || n % 9, CASE WHEN n % 50 > 0 THEN 'COMPLETED' ELSE 'AWAITING_HUMAN' END, 'key_1', '{{}}', '{{}}',
            n % 500 = 0 {rows}""",
        n=ROWS,
        id=ONE,
    )
    change(
        database,
        """INSERT INTO saga_steps (saga_id, place, attempt, retries, span_id, call_began, unsure, may_repeat, step_id,
            status)
        SELECT id, 0, 1, 0, row_number() OVER (), true, false, false, 'first', 'COMPLETED' FROM sagas""",
    )
    change(
        database,
        f"""INSERT INTO webhook_messages
        SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'ns-' || n % 9, 'pause.approved',
            repeat('x', 200), now() {rows}""",
        n=ROWS,
    )
    change(
        database,
        """INSERT INTO webhook_deliveries (id, message_id, namespace, pause_id, url, lane, status, attempts, retry,
            created_at, completed_at, due_at, hint_at)
        SELECT id, id, namespace, id, 'https://x.test', 'https://x.test ' || namespace, 'delivered', 1, 0, created_at,
            created_at, created_at, created_at FROM webhook_messages""",
    )
    change(
        database,
        """INSERT INTO notifications (id, pause_id, once, namespace, recipient, channel, reason, status, attempts,
            created_at, completed_at, due_at, hint_at)
        SELECT id, id, id, namespace, 'p@x.test', 'json://x', 'waiting', 'sent', 1, created_at, created_at, created_at,
            created_at FROM pauses""",
    )
    change(database, "ALTER TABLE audit_events DISABLE TRIGGER USER")
    change(
        database,
        f"""INSERT INTO audit_events (namespace, seq, hash, entry)
        SELECT 'default', n, decode(repeat('00', 32), 'hex'), json_build_object('at', '2020-01-01T00:00:00.000Z',
            'type', 'pause.approved', 'subject', 'wch_' || n, 'by', 'usr_' || n % 9, 'after', repeat('f', 300))
        {rows}""",
        n=ROWS,
    )
    change(database, "ALTER TABLE audit_events ENABLE TRIGGER USER")
    with database.reading() as conn:
        conn.exec_driver_sql("ANALYZE")
    return database


def whole_tables(database: Database, work: Callable[[], object]) -> list[str]:
    """Return the plans of the work's statements that read a big table sequentially."""
    sent: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            sent.append((statement, parameters))

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


def test_no_list_reads_a_whole_table(full: Database) -> None:
    """Each filter for each caller, on the first page and on a later one; each two filters; and the counts."""
    found = []

    def check(listed: Listed, by: Principal, wanted: Any, page: Page) -> None:
        found.extend(
            f"{wanted} {by.role}: {each}" for each in whole_tables(full, lambda: listed(full, by, wanted, page))
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
            found += whole_tables(full, lambda: count(full, by))  # noqa: B023
        found += whole_tables(full, lambda: count_waiting(full, by, InboxFilter()))  # noqa: B023
    assert not found, "\n".join([f"{len(found)} plans", *found[:10]])
