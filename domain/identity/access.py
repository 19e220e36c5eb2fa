"""Who may do what: roles, permissions and the namespaces a caller sees."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

NAMESPACE_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
DEFAULT_NAMESPACE = "default"
ALL_NAMESPACES = "*"
# The id of everybody who asks without a key, where that is allowed: they cannot be told apart.
ANONYMOUS = "anonymous"
_NAMESPACE = re.compile(NAMESPACE_PATTERN + r"(?!\n)")


class Role(StrEnum):
    AGENT = "agent"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    PAUSE_CREATE = "pause.create"
    PAUSE_READ = "pause.read"
    PAUSE_CANCEL = "pause.cancel"
    PAUSE_DECIDE = "pause.decide"
    SIGNING_SECRET_READ = "signing-secret.read"  # noqa: S105
    DELIVERY_MANAGE = "delivery.manage"
    ENDPOINT_READ = "endpoint.read"
    ENDPOINT_MANAGE = "endpoint.manage"
    KEY_MANAGE = "key.manage"
    DEFINITION_READ = "definition.read"
    DEFINITION_DEPLOY = "definition.deploy"
    SAGA_START = "saga.start"
    SAGA_READ = "saga.read"
    STEP_DECIDE = "step.decide"
    SAGA_RECOVER = "saga.recover"
    METRICS_READ = "metrics.read"
    PEOPLE_MANAGE = "people.manage"
    NAMESPACE_MANAGE = "namespace.manage"
    NOTIFICATION_READ = "notification.read"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"


_AGENTS = frozenset({Role.AGENT, Role.ADMIN})
_REVIEWERS = frozenset({Role.REVIEWER, Role.OPERATOR, Role.ADMIN})
_OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})

# An agent never decides: the one rule that everything else here stands on.
GRANTS: Mapping[Permission, frozenset[Role]] = MappingProxyType(
    {
        Permission.PAUSE_CREATE: _AGENTS,
        Permission.PAUSE_READ: _AGENTS | _REVIEWERS,
        Permission.PAUSE_CANCEL: _AGENTS,
        Permission.PAUSE_DECIDE: _REVIEWERS,
        Permission.SIGNING_SECRET_READ: _AGENTS,
        Permission.DELIVERY_MANAGE: _OPERATORS,
        Permission.ENDPOINT_READ: _OPERATORS,
        Permission.ENDPOINT_MANAGE: _ADMINS,
        Permission.KEY_MANAGE: _ADMINS,
        Permission.DEFINITION_READ: _AGENTS | _REVIEWERS,
        Permission.DEFINITION_DEPLOY: _ADMINS,
        Permission.SAGA_START: _AGENTS,
        Permission.SAGA_READ: _AGENTS | _REVIEWERS,
        Permission.STEP_DECIDE: _REVIEWERS,
        Permission.SAGA_RECOVER: _OPERATORS,
        Permission.METRICS_READ: _OPERATORS,
        Permission.PEOPLE_MANAGE: _ADMINS,
        Permission.NAMESPACE_MANAGE: _ADMINS,
        Permission.NOTIFICATION_READ: _OPERATORS,
        Permission.AUDIT_READ: _OPERATORS,
        Permission.AUDIT_EXPORT: _ADMINS,
    }
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a key, a person, or (on a laptop) nobody with a role.

    Attributes:
        email, groups: of a person.
        where: the address that the request came from, for the audit log.
    """

    id: str
    name: str
    role: Role
    namespaces: tuple[str, ...]
    email: str | None = None
    groups: tuple[str, ...] = ()
    where: str | None = None

    def may(self, permission: Permission) -> bool:
        return self.role in GRANTS[permission]

    @property
    def sees_all(self) -> bool:
        return ALL_NAMESPACES in self.namespaces

    def sees(self, namespace: str) -> bool:
        return self.sees_all or namespace in self.namespaces

    @property
    def own_namespace(self) -> str:
        """Where a request that names no namespace goes: the key's only one, else `default`."""
        if len(self.namespaces) == 1 and not self.sees_all:
            return self.namespaces[0]
        return DEFAULT_NAMESPACE


def who_may(permission: Permission) -> str:
    """`operator or admin`."""
    return " or ".join(str(role) for role in Role if role in GRANTS[permission])


def is_namespace(text: str) -> bool:
    return _NAMESPACE.match(text) is not None
