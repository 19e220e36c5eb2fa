"""Which pages and forms there are, as the dashboard itself says."""

from flask import Flask
from werkzeug.routing import Rule

from app.dashboard.pages import dashboard
from app.http.url_converters import TraceIdPart


def rules() -> list[Rule]:
    app = Flask("dashboard", static_folder=None)
    app.url_map.converters["trace"] = TraceIdPart
    app.register_blueprint(dashboard)
    return list(app.url_map.iter_rules())
