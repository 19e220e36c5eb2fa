"""Every page there is: importing a module of pages registers them."""

from app.dashboard import (
    account,
    admin_endpoints,
    admin_groups,
    admin_keys,
    admin_people,
    audit_page,
    charts,
    errors,
    notifications_page,
    oidc,
    review,
    saga,
    sagas,
    sign_in,
    values,
    webhooks,
)
from app.dashboard.frame import dashboard

__all__ = [
    "account",
    "admin_endpoints",
    "admin_groups",
    "admin_keys",
    "admin_people",
    "audit_page",
    "charts",
    "dashboard",
    "errors",
    "notifications_page",
    "oidc",
    "review",
    "saga",
    "sagas",
    "sign_in",
    "values",
    "webhooks",
]
