"""Roles, their permissions, and the namespaces that a caller may access."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

NAMESPACE_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
DEFAULT_NAMESPACE = "default"
ALL_NAMESPACES = "*"
# The id of every caller without a key, where that is allowed: such callers cannot be distinguished.
ANONYMOUS = "anonymous"
_NAMESPACE = re.compile(NAMESPACE_PATTERN + r"(?!\n)")


class Role(StrEnum):
    AGENT = "agent"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Authentication(StrEnum):
    """How a caller proved who they are. Receipts name it for each vote."""

    API_KEY = "api_key"
    PASSWORD = "password"  # noqa: S105
    OIDC = "oidc"
    SIGN_IN_LINK = "sign_in_link"
    REVIEW_LINK = "review_link"
    ANONYMOUS = "anonymous"


class Permission(StrEnum):
    PAUSE_CREATE = "pause.create"
    PAUSE_READ = "pause.read"
    PAUSE_CANCEL = "pause.cancel"
    PAUSE_CONSUME = "pause.consume"
    PAUSE_DECIDE = "pause.decide"
    OUTCOME_SETTLE = "outcome.settle"
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
    RECEIPT_KEY_MANAGE = "receipt-key.manage"
    RETENTION_MANAGE = "retention.manage"


_AGENTS = frozenset({Role.AGENT, Role.ADMIN})
_REVIEWERS = frozenset({Role.REVIEWER, Role.OPERATOR, Role.ADMIN})
_OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})

# An agent never decides. Every other rule here depends on this one.
GRANTS: Mapping[Permission, frozenset[Role]] = MappingProxyType(
    {
        Permission.PAUSE_CREATE: _AGENTS,
        Permission.PAUSE_READ: _AGENTS | _REVIEWERS,
        Permission.PAUSE_CANCEL: _AGENTS,
        Permission.PAUSE_CONSUME: _AGENTS,
        Permission.PAUSE_DECIDE: _REVIEWERS,
        Permission.OUTCOME_SETTLE: _OPERATORS,
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
        Permission.RECEIPT_KEY_MANAGE: _ADMINS,
        Permission.RETENTION_MANAGE: _ADMINS,
    }
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request: a key, a person, or an anonymous caller in development.

    Attributes:
        email: set only for a person.
        groups: set only for a person.
        where: the client's address, for the audit log.
        auth: an `Authentication`; None if it is unknown, as in a session of an earlier release.
    """

    id: str
    name: str
    role: Role
    namespaces: tuple[str, ...]
    email: str | None = None
    groups: tuple[str, ...] = ()
    where: str | None = None
    auth: str | None = field(default=None, compare=False)

    def may(self, permission: Permission) -> bool:
        return self.role in GRANTS[permission]

    @property
    def sees_all(self) -> bool:
        return ALL_NAMESPACES in self.namespaces

    def sees(self, namespace: str) -> bool:
        return self.sees_all or namespace in self.namespaces

    @property
    def own_namespace(self) -> str:
        """The namespace of a request that names none: the key's only one, else `default`."""
        if len(self.namespaces) == 1 and not self.sees_all:
            return self.namespaces[0]
        return DEFAULT_NAMESPACE


def who_may(permission: Permission) -> str:
    """Name the roles that have the permission, like `operator or admin`."""
    return " or ".join(str(role) for role in Role if role in GRANTS[permission])


def is_namespace(text: str) -> bool:
    return _NAMESPACE.match(text) is not None
