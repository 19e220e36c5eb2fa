"""Whom a review tells that it waits for them: one due row for each of their channels, made with the change itself."""

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

# Messages on one occasion. Whom a policy leaves open to hundreds of people nobody feels asked; and each is a row.
MAX_TOLD = 200
# How long a process goes by what it last saw of whether anyone has a channel: most installations begin without, and
# then a pause costs nothing here. The first channel of all counts after at most this. Seconds.
LISTENS_FOR = 2.0
# Whoever may look does after this, so that it is known meanwhile to those who may not.
LOOKS_AFTER = LISTENS_FOR / 2


@dataclass(frozen=True, slots=True)
class Recipient:
    """`name`: a mail address; of a group its name, with no `user_id`."""

    name: str
    channel: str
    user_id: UUID | None


_listening: WeakKeyDictionary[Engine, tuple[float, bool]] = WeakKeyDictionary()


def anyone_listens(database: Database) -> bool:
    """Whether any person or group has a channel at all. Not to be asked inside of a transaction."""
    looked, answer = _listening.get(database.engine, (float("-inf"), False))
    if time.monotonic() < looked + LOOKS_AFTER:
        return answer
    person = exists().where(users.c.disabled_at.is_(None), func.cardinality(users.c.channels) > 0)
    group = exists().where(func.cardinality(groups.c.channels) > 0)
    with database.reading() as conn:
        answer = conn.execute(select(or_(person, group))).scalar_one()
    _listening[database.engine] = time.monotonic(), answer
    return answer


def may_listen(database: Database) -> bool:
    """As this process last saw it, or true where it has not looked lately. Asks nobody, so also fit for the middle of
    a transaction; the sweeps of `services.pauses.reminders` look each second."""
    looked, answer = _listening.get(database.engine, (float("-inf"), True))
    return answer or time.monotonic() >= looked + LISTENS_FOR


class Asking(Protocol):
    """What is needed of a pause: whose it is, and whom it asks at which point of its review."""

    @property
    def id(self) -> UUID: ...
    @property
    def namespace(self) -> str: ...
    @property
    def created_by(self) -> str: ...
    @property
    def asked(self) -> Sequence[str] | None: ...
    @property
    def stage(self) -> int: ...
    @property
    def revision(self) -> int: ...
    @property
    def reminders(self) -> int: ...
    @property
    def votes(self) -> Sequence[Vote]: ...


def notify(uow: UnitOfWork, pause: Asking, reason: Reason) -> None:
    """Tell those whom the pause asks now. Asked for again on the same occasion, nobody is told again."""
    people = people_with_channels(uow, lambda columns: _able(columns, pause), _is_asked(pause))
    occasion = NotificationEvent(
        "pause_id", pause.id, pause.namespace, reason, (pause.stage, pause.revision, pause.reminders)
    )
    add_notifications(uow, [*people, *_groups(uow, pause)], occasion)


@dataclass(frozen=True, slots=True)
class NotificationEvent:
    """What there is to tell. On the same occasion no channel is told twice.

    Attributes:
        column, id: of what waits. place: what tells one occasion from the next, for the same reason.
    """

    column: str
    id: UUID
    namespace: str
    reason: Reason
    place: tuple[object, ...]


def add_notifications(uow: UnitOfWork, recipients: Sequence[Recipient], occasion: NotificationEvent) -> None:
    told = list(dict.fromkeys(recipients))
    if len(told) > MAX_TOLD:
        extra = {occasion.column: occasion.id.hex, "reason": occasion.reason}
        log.warning("more than %d channels are to hear of one occasion: the others are not told", MAX_TOLD, extra=extra)
        del told[MAX_TOLD:]
    if not told:
        return
    new = insert(notifications).values([_row(uow, occasion, one) for one in told]).on_conflict_do_nothing()
    uow.wakeups.extend(
        WakeUp(NOTIFICATION, id_) for id_ in uow.conn.execute(new.returning(notifications.c.id)).scalars()
    )


def people_with_channels(
    uow: UnitOfWork, able: Callable[[Any], tuple[ColumnElement[bool], ...]], *asked: ColumnElement[bool]
) -> Iterator[Recipient]:
    """Who is asked and able, and instead of who is away the delegate, where that one is able too."""
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
        .where(*able(users.c), *asked, func.cardinality(hears["channels"]) > 0)
        .order_by(users.c.id)
        .limit(MAX_TOLD + 1)
    )
    for row in uow.conn.execute(query).mappings():
        for channel in row["channels"]:
            yield Recipient(row["email"], channel, row["id"])


def _groups(uow: UnitOfWork, pause: Asking) -> Iterator[Recipient]:
    if pause.asked is None:
        return
    names, _ = _asked(pause)
    query = select(groups.c.name, groups.c.channels).where(groups.c.name.in_(names)).order_by(groups.c.name)
    for row in uow.conn.execute(query).mappings():
        for channel in row["channels"]:
            yield Recipient(row["name"], channel, None)


def _able(columns: Any, pause: Asking) -> tuple[ColumnElement[bool], ...]:
    """May decide this pause: everyone who has an account, but nobody what they asked for themselves."""
    creator = ids.parse(ids.USER, pause.created_by)
    return (
        columns.disabled_at.is_(None),
        columns.namespaces.overlap([pause.namespace, ALL_NAMESPACES]),
        true() if creator is None else columns.id != creator,
    )


def _is_asked(pause: Asking) -> ColumnElement[bool]:
    """And has not voted yet."""
    voted = [id_ for vote in pause.votes if vote.counts and (id_ := ids.parse(ids.USER, vote.owner)) is not None]
    waited_for = users.c.id.not_in(voted)
    if pause.asked is None:
        return waited_for
    names, emails = _asked(pause)
    return and_(waited_for, or_(users.c.groups.overlap(names), users.c.email.in_(emails)))


def _asked(pause: Asking) -> tuple[list[str], list[str]]:
    """Names of groups, and addresses of people."""
    asked = [who.partition(":") for who in pause.asked or ()]
    return [name for kind, _, name in asked if kind == "group"], [name for kind, _, name in asked if kind == "person"]


def _row(uow: UnitOfWork, occasion: NotificationEvent, told: Recipient) -> dict[str, Any]:
    which = ":".join(str(part) for part in (occasion.reason, *occasion.place))
    once = hashlib.sha256("\n".join((which, told.name, told.channel)).encode()).digest()
    return {
        "id": uow.new_id(),
        "pause_id": None,
        "saga_id": None,
        occasion.column: occasion.id,
        "once": UUID(bytes=once[:16]),
        "user_id": told.user_id,
        "namespace": occasion.namespace,
        "recipient": told.name,
        "channel": told.channel,
        "reason": str(occasion.reason),
        "status": "pending",
        "attempts": 0,
        "last_error": None,
        "created_at": uow.now,
        "completed_at": None,
        "lease_token": None,
        "leased_until": None,
        **due_now(uow),
    }
