"""The recipients of notifications: each of their channels gets one due row, in the transaction of the change."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Engine, and_, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import insert

from domain.delivery.notification import Reason
from domain.identity.access import ALL_NAMESPACES
from domain.pauses.votes import Vote
from domain.values import ids
from models.notifications import notifications
from models.people import groups, users
from services.kernel.leases import NOTIFICATION, due_now
from services.kernel.unit_of_work import Database, UnitOfWork, WakeUp

log = logging.getLogger(__name__)

# Notifications of one event. Each is a row, and among hundreds of recipients no one feels responsible.
MAX_RECIPIENTS = 200
# Seconds for which a process caches whether any channel exists. Most installations start without one, and then a pause
# costs nothing here. The first channel takes effect after at most this time.
LISTENS_FOR = 2.0
# Callers that may query refresh the cache after this, so that it stays valid for those that may not.
REFRESH_AFTER = LISTENS_FOR / 2


@dataclass(frozen=True, slots=True)
class Recipient:
    """One channel of a person or group. `name`: a mail address, or a group's name (then `user_id` is None)."""

    name: str
    channel: str
    user_id: UUID | None


_channel_seen: WeakKeyDictionary[Engine, tuple[float, bool]] = WeakKeyDictionary()


def any_channel_exists(database: Database) -> bool:
    """Return whether any person or group has a channel. Do not call this inside a transaction."""
    looked, answer = _channel_seen.get(database.engine, (float("-inf"), False))
    if time.monotonic() < looked + REFRESH_AFTER:
        return answer
    person = exists().where(users.c.disabled_at.is_(None), func.cardinality(users.c.channels) > 0)
    group = exists().where(func.cardinality(groups.c.channels) > 0)
    with database.reading() as conn:
        answer = conn.execute(select(or_(person, group))).scalar_one()
    _channel_seen[database.engine] = time.monotonic(), answer
    return answer


def a_channel_may_exist(database: Database) -> bool:
    """Return the cached answer of `any_channel_exists`, or True if it is too old. This sends no query.

    So it may be called inside a transaction. The sweep of `services.pauses.reminders` refreshes the cache each second.
    """
    looked, answer = _channel_seen.get(database.engine, (float("-inf"), True))
    return answer or time.monotonic() >= looked + LISTENS_FOR


class PauseUnderReview(Protocol):
    """The attributes of a pause that determine its recipients."""

    @property
    def id(self) -> UUID: ...
    @property
    def namespace(self) -> str: ...
    @property
    def created_by(self) -> str: ...
    @property
    def eligible(self) -> Sequence[str] | None: ...
    @property
    def stage(self) -> int: ...
    @property
    def revision(self) -> int: ...
    @property
    def reminders(self) -> int: ...
    @property
    def votes(self) -> Sequence[Vote]: ...


def notify(uow: UnitOfWork, pause: PauseUnderReview, reason: Reason) -> None:
    """Notify the eligible voters of the pause. A repeated call for the same event notifies no one again."""
    people = people_with_channels(uow, lambda columns: _able(columns, pause), _is_eligible(pause))
    event = NotificationEvent(
        "pause_id", pause.id, pause.namespace, reason, (pause.stage, pause.revision, pause.reminders)
    )
    add_notifications(uow, [*people, *_groups(uow, pause)], event)


@dataclass(frozen=True, slots=True)
class NotificationEvent:
    """An event to notify of. Each channel gets at most one notification of it.

    Attributes:
        column: which id of a notification refers to the pause or saga.
        id: of that pause or saga.
        place: distinguishes this event from others with the same reason.
    """

    column: str
    id: UUID
    namespace: str
    reason: Reason
    place: tuple[object, ...]


def add_notifications(uow: UnitOfWork, recipients: Sequence[Recipient], event: NotificationEvent) -> None:
    chosen = list(dict.fromkeys(recipients))
    if len(chosen) > MAX_RECIPIENTS:
        extra = {event.column: event.id.hex, "reason": event.reason}
        log.warning(
            "more than %d channels would be notified of one event: the others are left out", MAX_RECIPIENTS, extra=extra
        )
        del chosen[MAX_RECIPIENTS:]
    if not chosen:
        return
    new = insert(notifications).values([_row(uow, event, one) for one in chosen]).on_conflict_do_nothing()
    uow.wakeups.extend(
        WakeUp(NOTIFICATION, id_) for id_ in uow.conn.execute(new.returning(notifications.c.id)).scalars()
    )


def people_with_channels(
    uow: UnitOfWork, able: Callable[[Any], tuple[ColumnElement[bool], ...]], *eligible: ColumnElement[bool]
) -> Iterator[Recipient]:
    """Yield the channels of people who are `eligible` and `able`. An able delegate replaces a person who is away."""
    delegate = users.alias("delegate")
    stands_in = and_(
        users.c.away_until > uow.now,
        delegate.c.id == users.c.delegate_id,
        *able(delegate.c),
    )
    hears = {name: func.coalesce(delegate.c[name], users.c[name]) for name in ("id", "email", "channels")}
    query = (
        select(*(column.label(name) for name, column in hears.items()))
        .select_from(users.outerjoin(delegate, stands_in))
        .where(*able(users.c), *eligible, func.cardinality(hears["channels"]) > 0)
        .order_by(users.c.id)
        .limit(MAX_RECIPIENTS + 1)
    )
    for row in uow.conn.execute(query).mappings():
        for channel in row["channels"]:
            yield Recipient(row["email"], channel, row["id"])


def _groups(uow: UnitOfWork, pause: PauseUnderReview) -> Iterator[Recipient]:
    if pause.eligible is None:
        return
    names, _ = _eligible(pause)
    query = select(groups.c.name, groups.c.channels).where(groups.c.name.in_(names)).order_by(groups.c.name)
    for row in uow.conn.execute(query).mappings():
        for channel in row["channels"]:
            yield Recipient(row["name"], channel, None)


def _able(columns: Any, pause: PauseUnderReview) -> tuple[ColumnElement[bool], ...]:
    """Return conditions: the person may decide this pause, which its creator may not."""
    creator = ids.parse(ids.USER, pause.created_by)
    return (
        columns.disabled_at.is_(None),
        columns.namespaces.overlap([pause.namespace, ALL_NAMESPACES]),
        true() if creator is None else columns.id != creator,
    )


def _is_eligible(pause: PauseUnderReview) -> ColumnElement[bool]:
    """Return a condition: the person is an eligible voter and has not voted yet."""
    voted = [id_ for vote in pause.votes if vote.counts and (id_ := ids.parse(ids.USER, vote.owner)) is not None]
    waited_for = users.c.id.not_in(voted)
    if pause.eligible is None:
        return waited_for
    names, emails = _eligible(pause)
    return and_(waited_for, or_(users.c.groups.overlap(names), users.c.email.in_(emails)))


def _eligible(pause: PauseUnderReview) -> tuple[list[str], list[str]]:
    """Return the groups and the e-mail addresses of `eligible`."""
    eligible = [who.partition(":") for who in pause.eligible or ()]
    return [name for kind, _, name in eligible if kind == "group"], [
        name for kind, _, name in eligible if kind == "person"
    ]


def _row(uow: UnitOfWork, event: NotificationEvent, recipient: Recipient) -> dict[str, Any]:
    which = ":".join(str(part) for part in (event.reason, *event.place))
    once = hashlib.sha256("\n".join((which, recipient.name, recipient.channel)).encode()).digest()
    return {
        "id": uow.new_id(),
        "pause_id": None,
        "saga_id": None,
        event.column: event.id,
        "once": UUID(bytes=once[:16]),
        "user_id": recipient.user_id,
        "namespace": event.namespace,
        "recipient": recipient.name,
        "channel": recipient.channel,
        "reason": str(event.reason),
        "status": "pending",
        "attempts": 0,
        "last_error": None,
        "created_at": uow.now,
        "completed_at": None,
        "lease_token": None,
        "leased_until": None,
        **due_now(uow),
    }
