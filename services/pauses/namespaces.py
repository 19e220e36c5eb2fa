"""Settings of a namespace: the minimum approval policy for its pauses and steps."""

from collections.abc import Sequence
from typing import Any, TypedDict

from sqlalchemy import RowMapping, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from domain.identity.access import Principal
from domain.pauses import approval_policy
from domain.pauses.approval_policy import ONE_APPROVAL
from domain.pauses.pause import OnTimeout
from domain.pauses.policy_floor import ON_TIMEOUT, PolicyFloor
from domain.pauses.serialization import instant_or_none
from domain.pauses.votes import EligibleVoters, unmet
from domain.values.errors import NotUnderstood, PolicyUnsatisfiable
from models.namespaces import namespace_settings
from services.kernel.tenancy import check_seen
from services.kernel.unit_of_work import Database, UnitOfWork
from services.pauses.voters import members_of


class Limits(TypedDict, total=False):
    """Limits that an admin sets besides the policy. A missing key keeps its value; None restores the default."""

    allowed_on_timeout: Sequence[OnTimeout] | None
    min_expires_in: int | None
    approval_valid_for: int | None


def read_floor(uow: UnitOfWork, namespace: str) -> PolicyFloor:
    """Return the minimum policy of the namespace, read once for each transaction. Raise `NotUnderstood`."""
    key = "floor", namespace
    found: PolicyFloor | None = uow.found.get(key)
    if found is None:
        row = uow.lookups.execute(_QUERY, {"namespace": namespace}).mappings().one_or_none()
        _check_understood(namespace, row)
        found = uow.found[key] = _floor(namespace, row)
    return found


def get_namespace(database: Database, by: Principal, namespace: str) -> dict[str, Any]:
    check_seen(by, namespace)
    with database.reading() as conn:
        return _document(namespace, conn.execute(_QUERY, {"namespace": namespace}).mappings().one_or_none())


def put_namespace(
    database: Database, by: Principal, namespace: str, policy: dict[str, Any] | None, limits: Limits | None = None
) -> dict[str, Any]:
    """Set the policy and the limits. Raise `Invalid` or `PolicyUnsatisfiable`.

    `policy`: None is one approval by anybody.
    """
    check_seen(by, namespace)
    wanted = approval_policy.parse(policy)
    with database.transaction() as uow:
        if not wanted.plain and (field_errors := unmet(EligibleVoters(wanted, members_of(uow, namespace)), "review")):
            raise PolicyUnsatisfiable(field_errors)
        uow.take_advisory_lock(f"namespace {namespace}")
        locked = uow.conn.execute(_OF_NAMESPACE.with_for_update(), {"namespace": namespace}).mappings()
        before = _document(namespace, locked.one_or_none())
        changes: dict[str, Any] = {
            **(limits or {}),
            "review": None if wanted == ONE_APPROVAL else wanted.document(),
            "changed_at": uow.now,
            "changed_by": by.id,
        }
        row = insert(namespace_settings).values(namespace=namespace, **changes)
        put = row.on_conflict_do_update(index_elements=["namespace"], set_=changes).returning(*namespace_settings.c)
        after = _document(namespace, uow.conn.execute(put).mappings().one())
        uow.record(by, namespace, "namespace.changed", namespace, before=before, after=after, review=after["review"])
    return after


_OF_NAMESPACE = select(namespace_settings).where(namespace_settings.c.namespace == bindparam("namespace"))
_QUERY = _OF_NAMESPACE.execution_options(prepared=True)


def _floor(namespace: str, row: RowMapping | None) -> PolicyFloor:
    if row is None:
        return PolicyFloor(namespace)
    named, policy = row["allowed_on_timeout"], approval_policy.stored(row["review"])[0]
    # This version does not offer values that only a newer release knows.
    allowed = ON_TIMEOUT if named is None else tuple(each for each in OnTimeout if each in named)
    return PolicyFloor(namespace, policy, allowed, row["min_expires_in"], row["approval_valid_for"])


def _check_understood(namespace: str, row: RowMapping | None) -> None:
    """Raise `NotUnderstood`: under half a policy fewer votes would approve a pause than the namespace requires."""
    if row is not None and (places := approval_policy.stored(row["review"])[1]):
        raise NotUnderstood(
            f"the review policy of the namespace {namespace!r} has what this version does not understand:"
            f" {', '.join(places)[:500]}; ask the newer release"
        )


def _document(namespace: str, row: RowMapping | None) -> dict[str, Any]:
    floor = _floor(namespace, row)
    return {
        "namespace": namespace,
        "review": floor.review.document(),
        "allowed_on_timeout": [str(each) for each in floor.on_timeout],
        "min_expires_in": floor.min_expires_in,
        "approval_valid_for": floor.approval_valid_for,
        "changed_at": instant_or_none(None if row is None else row["changed_at"]),
        "changed_by": None if row is None else row["changed_by"],
    }
