"""Every page there is: importing a module of pages registers them."""

from app.dashboard.frame import dashboard

__all__ = ["dashboard"]
