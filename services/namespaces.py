"""What holds for a whole namespace: the review policy of pauses and steps that say none."""

import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, RowMapping, select
from sqlalchemy.dialects.postgresql import insert

from domain import review
from domain.access import Principal, is_namespace
from domain.document import instant_or_none
from domain.errors import NotFound, PolicyUnsatisfiable
from domain.review import ONE_APPROVAL, Review
from domain.votes import Panel, unmet
from models.namespaces import namespace_settings
from services.electorate import members_of
from services.transaction import Store, Tx

# A changed policy counts everywhere after at most this, and no pause is looked up a policy for. Seconds.
TTL_SECONDS = 3.0
# Namespaces remembered at once.
CAPACITY = 10_000

_known: WeakKeyDictionary[Engine, dict[str, tuple[float, Review]]] = WeakKeyDictionary()


def default_review(store: Store, tx: Tx, namespace: str) -> Review:
    """As this process knew it a few seconds ago."""
    known = _known.setdefault(store.engine, {})
    remembered = known.get(namespace)
    asked_at = time.monotonic()
    if remembered is not None and asked_at < remembered[0]:
        return remembered[1]
    query = select(namespace_settings.c.review).where(namespace_settings.c.namespace == namespace)
    found = review.parse(tx.conn.execute(query).scalar_one_or_none())
    if len(known) >= CAPACITY:
        known.clear()
    known[namespace] = (asked_at + TTL_SECONDS, found)
    return found


def get_namespace(store: Store, by: Principal, namespace: str) -> dict[str, Any]:
    _check_seen(by, namespace)
    with store.reading() as conn:
        return _document(namespace, conn.execute(_query(namespace)).mappings().one_or_none())


def put_namespace(store: Store, by: Principal, namespace: str, policy: dict[str, Any] | None) -> dict[str, Any]:
    """`policy`: None is one approval by anybody. Raises `Invalid`, `PolicyUnsatisfiable`."""
    _check_seen(by, namespace)
    wanted = review.parse(policy)
    with store.transaction() as tx:
        if not wanted.plain and (faults := unmet(Panel(wanted, members_of(tx, namespace)), "review")):
            raise PolicyUnsatisfiable(faults)
        before = _document(namespace, tx.conn.execute(_query(namespace).with_for_update()).mappings().one_or_none())
        changes = {
            "review": None if wanted == ONE_APPROVAL else wanted.document(),
            "changed_at": tx.now,
            "changed_by": by.id,
        }
        row = insert(namespace_settings).values(namespace=namespace, **changes)
        put = row.on_conflict_do_update(index_elements=["namespace"], set_=changes).returning(*namespace_settings.c)
        after = _document(namespace, tx.conn.execute(put).mappings().one())
        tx.record(by, namespace, "namespace.changed", namespace, before=before, after=after, review=after["review"])
    _known.pop(store.engine, None)
    return after


def _query(namespace: str) -> Any:
    return select(namespace_settings).where(namespace_settings.c.namespace == namespace)


def _check_seen(by: Principal, namespace: str) -> None:
    if not is_namespace(namespace) or not by.sees(namespace):
        raise NotFound(f"there is no namespace {namespace[:64]!r} that this key may see")


def _document(namespace: str, row: RowMapping | None) -> dict[str, Any]:
    policy = review.parse(None if row is None else row["review"])
    return {
        "namespace": namespace,
        "review": policy.document(),
        "changed_at": instant_or_none(None if row is None else row["changed_at"]),
        "changed_by": None if row is None else row["changed_by"],
    }
