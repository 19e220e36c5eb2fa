"""Every page there is: importing a module of pages registers them."""

from app.dashboard import (
    account,
    errors,
    sign_in,
)
from app.dashboard.frame import dashboard

__all__ = [
    "account",
    "dashboard",
    "errors",
    "sign_in",
]
