"""Every page there is: importing a module of pages registers them."""

from app.dashboard.display import value_tree
from app.dashboard.framework import errors
from app.dashboard.framework.page_decorator import dashboard
from app.dashboard.operations import charts, webhooks
from app.dashboard.reviews import decided, inbox, inbox_bulk, inbox_stream, review
from app.dashboard.sagas import saga
from app.dashboard.sign_in import account, oidc, sign_in

__all__ = [
    "account",
    "admin_endpoints",
    "admin_groups",
    "admin_keys",
    "admin_people",
    "audit_page",
    "charts",
    "colours",
    "dashboard",
    "decided",
    "errors",
    "inbox",
    "inbox_bulk",
    "inbox_stream",
    "notifications_page",
    "oidc",
    "review",
    "saga",
    "sagas",
    "sign_in",
    "value_tree",
    "values",
    "webhooks",
]
