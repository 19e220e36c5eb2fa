"""All pages: importing a module of pages registers its routes."""

from app.dashboard.admin import audit, endpoints, groups, keys, people
from app.dashboard.display import highlighting, value_text, value_tree
from app.dashboard.framework import errors
from app.dashboard.framework.page_decorator import dashboard
from app.dashboard.operations import charts, notifications, webhooks
from app.dashboard.reviews import decided, inbox, inbox_bulk, inbox_stream, review
from app.dashboard.sagas import saga, saga_list
from app.dashboard.sign_in import account, oidc, sign_in

__all__ = [
    "account",
    "audit",
    "charts",
    "dashboard",
    "decided",
    "endpoints",
    "errors",
    "groups",
    "highlighting",
    "inbox",
    "inbox_bulk",
    "inbox_stream",
    "keys",
    "notifications",
    "oidc",
    "people",
    "review",
    "saga",
    "saga_list",
    "sign_in",
    "value_text",
    "value_tree",
    "webhooks",
]
