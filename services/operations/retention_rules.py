"""How long each namespace keeps decisions and messages, and legal holds. `services.operations.retention` obeys them."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, RowMapping, Table, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.identity.access import ALL_NAMESPACES, Principal
from domain.pauses.serialization import instant, instant_or_none
from domain.values import ids
from domain.values.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from models.pauses import pauses
from models.retention import legal_holds, retention_rules
from models.sagas import sagas
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest, get_response, store_response
from services.kernel.tenancy import check_seen
from services.kernel.unit_of_work import Database

# Article 26(6) of the EU AI Act: deployers keep the logs of high-risk systems for six months at least.
SIX_MONTHS = 184
# After a change of a rule or the release of a legal hold, nothing is deleted for this long: a mistake can be undone.
GRACE = timedelta(days=1)
# The advisory lock that batches of deletions share. A rule or a legal hold takes it alone: no batch that does not see
# it deletes anything after its answer.
DELETIONS = "retention"


class HoldReleased(Conflict):
    """The legal hold was released already."""

    code = "HOLD_RELEASED"


def kept_by_rule(table: Table, age: Column[Any], kind: Column[Any], default: timedelta) -> ColumnElement[bool]:
    """Return the condition for rows that a rule or legal hold keeps. `kind`: the rule's column of days."""
    namespace, rule, hold = table.c.namespace, retention_rules.c, legal_holds.c
    days = select(func.make_interval(0, 0, 0, kind)).where(rule.namespace == namespace).scalar_subquery()
    young = age >= func.now() - func.coalesce(days, default)
    changed = exists().where(rule.namespace == namespace, rule.changed_at > func.now() - GRACE)
    applies = or_(hold.namespace == namespace, hold.namespace == ALL_NAMESPACES)
    subject = or_(hold.subject.is_(None), hold.subject == table.c.id)
    active = or_(hold.released_at.is_(None), hold.released_at > func.now() - GRACE)
    held = exists().where(active, applies, subject)
    return young | changed | held


def get_rule(database: Database, by: Principal, namespace: str) -> dict[str, Any]:
    """Return the namespace's rule. Raise `NotFound`."""
    check_seen(by, namespace)
    with database.reading() as conn:
        row = conn.execute(select(retention_rules).where(retention_rules.c.namespace == namespace)).mappings()
        return _rule_document(namespace, row.one_or_none())


def put_rule(
    database: Database,
    by: Principal,
    namespace: str,
    *,
    decision_days: int | None,
    message_days: int | None,
    below_six_months: bool,
) -> dict[str, Any]:
    """Set the rule. It deletes nothing for `GRACE`. Raise `Invalid` for less than six months without consent."""
    check_seen(by, namespace)
    if decision_days is not None and decision_days < SIX_MONTHS and not below_six_months:
        message = f"is below six months ({SIX_MONTHS} days); send below_six_months: true if no law asks for them"
        raise Invalid([FieldError("decision_days", message)])
    with database.transaction() as uow:
        uow.take_advisory_lock(DELETIONS)
        query = select(retention_rules).where(retention_rules.c.namespace == namespace)
        before = _rule_document(namespace, uow.conn.execute(query).mappings().one_or_none())
        days = {"decision_days": decision_days, "message_days": message_days}
        changes = {**days, "changed_at": uow.now, "changed_by": by.id}
        row = insert(retention_rules).values(namespace=namespace, **changes)
        put = row.on_conflict_do_update(index_elements=["namespace"], set_=changes).returning(*retention_rules.c)
        after = _rule_document(namespace, uow.conn.execute(put).mappings().one())
        uow.record(by, namespace, "retention.changed", namespace, before=before, after=after, **days)
    return after


def list_holds(database: Database, by: Principal, *, released: bool) -> list[dict[str, Any]]:
    """List the active holds that the caller sees, or also the released ones, newest first."""
    columns = legal_holds.c
    query = select(legal_holds).order_by(columns.placed_at.desc(), columns.id)
    if not released:
        query = query.where(columns.released_at.is_(None))
    if not by.sees_all:
        query = query.where(columns.namespace.in_([*by.namespaces, ALL_NAMESPACES]))
    with database.reading() as conn:
        return [_hold_document(row) for row in conn.execute(query).mappings()]


def place_hold(
    database: Database,
    by: Principal,
    namespace: str,
    subject: str | None,
    reason: str,
    request: IdempotentRequest | None,
) -> tuple[dict[str, Any], bool]:
    """Keep a pause, a saga or a whole namespace until the legal hold is released. Raise `Forbidden`, `NotFound`.

    Return the legal hold, and whether the request is a repetition.
    """
    if namespace == ALL_NAMESPACES and not by.sees_all:
        raise Forbidden("only an admin of all namespaces holds all of them")
    if namespace != ALL_NAMESPACES:
        check_seen(by, namespace)
    if subject is not None and namespace == ALL_NAMESPACES:
        raise Invalid([FieldError("namespace", "must be that of the subject")])
    try:
        with database.transaction() as uow:
            get_response(uow, by.own_namespace, request)
            uow.take_advisory_lock(DELETIONS)
            row = {"id": uow.new_id(), "namespace": namespace, "reason": reason, "subject": None}
            if subject is not None:
                id_ = ids.parse(ids.WATCH, subject) or ids.parse(ids.TRACE, subject.lower())
                # The lock keeps it from being deleted before the legal hold is visible.
                for table in (pauses, sagas):
                    found = select(table.c.id).where(table.c.id == id_, table.c.namespace == namespace)
                    if uow.conn.execute(found.with_for_update(read=True)).one_or_none() is not None:
                        row["subject"] = id_
                if row["subject"] is None:
                    raise NotFound(f"there is no pause or saga {subject[:64]!r} in the namespace {namespace!r}")
            row |= {"placed_at": uow.now, "placed_by": by.id}
            stored = uow.conn.execute(insert(legal_holds).values(row).returning(*legal_holds.c)).mappings().one()
            document = _hold_document(stored)
            uow.record(
                by, namespace, "hold.placed", subject or namespace, after=document, hold=document["id"], reason=reason
            )
            store_response(uow, by.own_namespace, request, document)
    except RepeatedRequest as repeated:
        return repeated.answer, True
    return document, False


def release_hold(database: Database, by: Principal, hold_id: str, reason: str) -> dict[str, Any]:
    """Release the legal hold. Raise `NotFound`, `HoldReleased`."""
    id_ = ids.parse(ids.HOLD, hold_id)
    with database.transaction() as uow:
        query = select(legal_holds).where(legal_holds.c.id == id_).with_for_update()
        row = None if id_ is None else uow.conn.execute(query).mappings().one_or_none()
        if row is None or not (by.sees_all or row["namespace"] in by.namespaces):
            raise NotFound(f"there is no legal hold {hold_id[:64]!r} that this key may release")
        if row["released_at"] is not None:
            raise HoldReleased
        released = {"released_at": uow.now, "released_by": by.id, "release_reason": reason}
        change = update(legal_holds).where(legal_holds.c.id == id_).values(released).returning(*legal_holds.c)
        before, after = _hold_document(row), _hold_document(uow.conn.execute(change).mappings().one())
        subject = after["subject"] or row["namespace"]
        uow.record(
            by, row["namespace"], "hold.released", subject, before=before, after=after, hold=hold_id, reason=reason
        )
    return after


def shortest(database: Database, kind: Column[Any], default: timedelta) -> timedelta:
    """Return the shortest retention of any namespace, from which on a pass looks at rows."""
    with database.reading() as conn:
        days = conn.execute(select(func.min(kind))).scalar_one()
    return default if days is None else min(default, timedelta(days=days))


def _rule_document(namespace: str, row: RowMapping | None) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "decision_days": None if row is None else row["decision_days"],
        "message_days": None if row is None else row["message_days"],
        "changed_at": None if row is None else instant(row["changed_at"]),
        "changed_by": None if row is None else row["changed_by"],
    }


def _hold_document(row: RowMapping) -> dict[str, Any]:
    return {
        "id": ids.text(ids.HOLD, row["id"]),
        "namespace": row["namespace"],
        "subject": None if row["subject"] is None else row["subject"].hex,
        "reason": row["reason"],
        "placed_at": instant(row["placed_at"]),
        "placed_by": row["placed_by"],
        "released_at": instant_or_none(row["released_at"]),
        "released_by": row["released_by"],
        "release_reason": row["release_reason"],
    }
