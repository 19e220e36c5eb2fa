"""Roles, permissions and namespaces: the whole table, so that a change of it is a change here."""

from itertools import product

import pytest

from domain.identity.access import GRANTS, Permission, Principal, Role, is_namespace, who_may

AGENT, REVIEWER, OPERATOR, ADMIN = Role.AGENT, Role.REVIEWER, Role.OPERATOR, Role.ADMIN
EXPECTED = {
    Permission.PAUSE_CREATE: {AGENT, ADMIN},
    Permission.PAUSE_READ: {AGENT, REVIEWER, OPERATOR, ADMIN},
    Permission.PAUSE_CANCEL: {AGENT, ADMIN},
    Permission.PAUSE_CONSUME: {AGENT, ADMIN},
    Permission.PAUSE_DECIDE: {REVIEWER, OPERATOR, ADMIN},
    Permission.OUTCOME_SETTLE: {OPERATOR, ADMIN},
    Permission.SIGNING_SECRET_READ: {AGENT, ADMIN},
    Permission.DELIVERY_MANAGE: {OPERATOR, ADMIN},
    Permission.ENDPOINT_READ: {OPERATOR, ADMIN},
    Permission.ENDPOINT_MANAGE: {ADMIN},
    Permission.KEY_MANAGE: {ADMIN},
    Permission.DEFINITION_READ: {AGENT, REVIEWER, OPERATOR, ADMIN},
    Permission.DEFINITION_DEPLOY: {ADMIN},
    Permission.SAGA_START: {AGENT, ADMIN},
    Permission.SAGA_READ: {AGENT, REVIEWER, OPERATOR, ADMIN},
    Permission.STEP_DECIDE: {REVIEWER, OPERATOR, ADMIN},
    Permission.SAGA_RECOVER: {OPERATOR, ADMIN},
    Permission.METRICS_READ: {OPERATOR, ADMIN},
    Permission.PEOPLE_MANAGE: {ADMIN},
    Permission.NAMESPACE_MANAGE: {ADMIN},
    Permission.NOTIFICATION_READ: {OPERATOR, ADMIN},
    Permission.AUDIT_READ: {OPERATOR, ADMIN},
    Permission.AUDIT_EXPORT: {ADMIN},
    Permission.RETENTION_MANAGE: {ADMIN},
    Permission.RECEIPT_KEY_MANAGE: {ADMIN},
}


@pytest.mark.parametrize(("role", "permission"), list(product(Role, Permission)))
def test_who_may_what(role: Role, permission: Permission) -> None:
    """Above all: an agent never decides."""
    assert Principal("key_1", "x", role, ("default",)).may(permission) is (role in EXPECTED[permission])


def test_every_permission_is_granted_to_the_admin() -> None:
    """No permission is left out of the table."""
    assert set(GRANTS) == set(Permission)
    assert all(Role.ADMIN in roles for roles in GRANTS.values())


@pytest.mark.parametrize(
    ("namespaces", "seen", "unseen", "own"),
    [
        (("payments",), ["payments"], ["default", "payments-2", "*"], "payments"),
        (("payments", "ops"), ["payments", "ops"], ["default"], "default"),
        (("*",), ["payments", "default"], [], "default"),
        (("payments", "*"), ["ops"], [], "default"),
    ],
)
def test_namespaces(namespaces: tuple[str, ...], seen: list[str], unseen: list[str], own: str) -> None:
    """A star sees all; one namespace alone is where requests go that name none."""
    principal = Principal("key_1", "x", Role.AGENT, namespaces)
    assert all(principal.sees(namespace) for namespace in seen)
    assert not any(principal.sees(namespace) for namespace in unseen)
    assert principal.own_namespace == own


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a--b", "a" * 63, "team-1"])
def test_namespace_accepted(text: str) -> None:
    assert is_namespace(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a_b", "a.b", "a b", "a" * 64, "a\n", "\na", "ä", "*", "a/b"])
def test_namespace_refused(text: str) -> None:
    assert not is_namespace(text)


def test_an_error_can_name_the_roles_with_a_permission() -> None:
    assert who_may(Permission.KEY_MANAGE) == "admin"
    assert who_may(Permission.SAGA_RECOVER) == "operator or admin"
    assert who_may(Permission.PAUSE_CREATE) == "agent or admin"
