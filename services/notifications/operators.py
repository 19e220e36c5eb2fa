"""Notify operators of a saga that waits for them, by their own channels and those of their groups."""

from typing import Any

from sqlalchemy import ColumnElement, RowMapping, any_, exists, func, or_, select

from domain.delivery.notification import OperatorNotificationContent, Reason
from domain.identity.access import ALL_NAMESPACES, GRANTS, Permission
from domain.sagas.saga import Saga
from domain.sagas.serialization import idempotency_key, span_text
from domain.sagas.step import Error
from models.people import groups, users
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import NotificationEvent, Recipient, add_notifications, people_with_channels


def notify_operators(uow: UnitOfWork, before: Saga, after: Saga) -> None:
    """Notify operators if the saga needs one now and did not before, once for each execution of a step."""
    if after.current is None or not after.needs_operator or _waits_for(before) == _waits_for(after):
        return
    event = NotificationEvent("saga_id", after.trace_id, after.namespace, _reason(after), _waits_for(after)[1:])
    people = people_with_channels(uow, lambda columns: may_recover(columns, after.namespace))
    add_notifications(uow, [*people, *_groups(uow, after.namespace)], event)


def may_recover(columns: Any, namespace: str) -> tuple[ColumnElement[bool], ...]:
    """Return conditions: the person of these columns may recover a saga of the namespace."""
    return (
        columns.disabled_at.is_(None),
        columns.role.in_([str(role) for role in GRANTS[Permission.SAGA_RECOVER]]),
        columns.namespaces.overlap([namespace, ALL_NAMESPACES]),
    )


def operator_content(database: Database, row: RowMapping, saga: Saga, name: str) -> OperatorNotificationContent | None:
    """Return the content of a notification, or None if the saga needs no operator any more.

    `row` is the notification's, and `name` the saga's name with its version.
    """
    step = saga.current
    if step is None or not saga.needs_operator:
        return None
    return OperatorNotificationContent(
        reason=Reason(row["reason"]),
        saga=name,
        step=step.id,
        namespace=saga.namespace,
        happened=_happened(saga.stuck or step.error),
        idempotency_key=idempotency_key(saga, step),
        link=f"{database.public_url}/sagas/{saga.trace_id.hex}",
    )


def _happened(error: Error | None) -> str:
    return "" if error is None else f"{error.code}: {error.message}"


def _reason(saga: Saga) -> Reason:
    if saga.stuck is not None:
        return Reason.STUCK
    undo_failed = saga.current is not None and saga.current.undo_failed
    return Reason.UNDO_FAILED if undo_failed else Reason.OUTCOME_UNKNOWN


def _waits_for(saga: Saga) -> tuple[object, ...]:
    step = saga.current
    return () if step is None or not saga.needs_operator else (_reason(saga), span_text(step.span_id), step.attempt)


def _groups(uow: UnitOfWork, namespace: str) -> list[Recipient]:
    """Return the channels of groups whose members all may recover sagas. Others could read another group's messages."""
    able = may_recover(users.c, namespace)
    member = groups.c.name == any_(users.c.groups), users.c.disabled_at.is_(None)
    others = or_(*(~condition for condition in able))
    all_able = exists().where(*member, *able), ~exists().where(*member, others)
    query = select(groups.c.name, groups.c.channels).where(func.cardinality(groups.c.channels) > 0, *all_able)
    rows = uow.conn.execute(query.order_by(groups.c.name)).mappings()
    return [Recipient(row["name"], channel, None) for row in rows for channel in row["channels"]]
