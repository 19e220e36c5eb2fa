"""The eligible voters of a namespace: its active people and its usable keys.

They are read once for each vote that counts towards a policy, and never for a plain policy.
"""

from sqlalchemy import Text, and_, bindparam, case, cast, literal, null, or_, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY

from domain.identity.access import ALL_NAMESPACES, GRANTS, Permission
from domain.pauses.pause import Pause, eligible_voters
from domain.pauses.votes import Voter, unmet
from domain.values import ids
from domain.values.errors import PolicyUnsatisfiable
from models.keys import api_keys
from models.people import users
from services.kernel.unit_of_work import UnitOfWork

_DECIDING = sorted(str(role) for role in GRANTS[Permission.PAUSE_DECIDE])
_wanted = bindparam("wanted_namespaces", type_=ARRAY(Text))
_now = bindparam("voters_now", type_=api_keys.c.created_at.type)
_away = and_(users.c.away_until > _now, users.c.delegate_id.is_not(None))
_MEMBERS = union_all(
    select(
        literal(True).label("person"),
        users.c.id,
        users.c.name,
        users.c.email,
        users.c.groups,
        case((_away, users.c.delegate_id), else_=null()).label("delegate_id"),
    ).where(users.c.disabled_at.is_(None), users.c.namespaces.overlap(_wanted)),
    select(
        literal(False),
        api_keys.c.id,
        api_keys.c.name,
        cast(null(), Text),
        cast(null(), ARRAY(Text)),
        cast(null(), users.c.id.type),
    ).where(
        api_keys.c.role.in_(_DECIDING),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > _now),
        api_keys.c.namespaces.overlap(_wanted),
    ),
).order_by("id")


def members_of(uow: UnitOfWork, namespace: str) -> tuple[Voter, ...]:
    found = uow.conn.execute(_MEMBERS, {"wanted_namespaces": [namespace, ALL_NAMESPACES], "voters_now": uow.now})
    return tuple(
        Voter(
            ids.text(ids.USER if row["person"] else ids.KEY, row["id"]),
            row["name"],
            row["email"],
            tuple(row["groups"] or ()),
            None if row["delegate_id"] is None else ids.text(ids.USER, row["delegate_id"]),
        )
        for row in found.mappings()
    )


def check_satisfiable(uow: UnitOfWork, pause: Pause) -> None:
    """Raise `PolicyUnsatisfiable` if too few may vote. A plain policy, one vote of anybody, is not checked."""
    if not pause.review.plain and (
        field_errors := unmet(eligible_voters(pause, members_of(uow, pause.namespace)), "review")
    ):
        raise PolicyUnsatisfiable(field_errors)
