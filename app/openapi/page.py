"""The page with the API's documentation."""

import importlib.util
from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

pages = Blueprint("pages", __name__)

_DOCS = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sagahold API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<div id="docs"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true});\n'
# Swagger UI sets style attributes; scripts may come only from this server.
_DOCS_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
_ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js"})


def _asset_folder() -> Path:
    """Find the folder without importing the package: an import needs frameworks that are not installed."""
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package swagger-ui-py is not installed: run `make setup`")
    return Path(spec.origin).parent / "static"


@pages.get("/docs")
def docs() -> Response:
    return Response(_DOCS, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _DOCS_POLICY})


@pages.get("/docs/start.js")
def docs_start() -> Response:
    return Response(_START, content_type="text/javascript; charset=utf-8")


@pages.get("/docs/assets/<name>")
def docs_asset(name: str) -> Response:
    if name not in _ASSETS:
        abort(404)
    response = send_from_directory(_asset_folder(), name)
    response.headers["Cache-Control"] = "public, max-age=86400"
    return response
