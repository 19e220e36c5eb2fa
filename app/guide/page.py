"""The guide at /docs/guide: the site that `make docs` builds, and that a wheel carries."""

import re
from pathlib import Path

from flask import Blueprint, Response, redirect, send_from_directory
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

guide = Blueprint("guide", __name__)

SITE = Path(__file__).parent / "site"
# The theme's icons are data URLs in its style sheet. Its search runs in a worker, and adds the style sheet with this
# digest, which is constant for a version of the theme (tests/architecture/test_guide.py).
SEARCH_STYLE = "sha256-NwSx/R2V/U4jnW0Tq5pQ53Y/rzPVJ4dqE7D6UTA/J1k="
_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' '{SEARCH_STYLE}'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A name with a digest of its content never gets other content.
_DIGEST = re.compile(r"\.[0-9a-f]{8}\.")
_MISSING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>No such page</title>
<h1>{title}</h1>
<p>{text}</p>
</html>
"""
_NO_PAGE = _MISSING.format(
    title="No such page", text='Begin at <a href="/docs/guide/">the first page of the guide</a>.'
)
_NOT_BUILT = _MISSING.format(
    title="The guide is not built",
    text="A wheel carries the guide. In a copy of the repository, run <code>make docs</code> and load this page again.",
)


@guide.get("/docs/guide")
def guide_start() -> BaseResponse:
    return redirect("/docs/guide/", 308)


@guide.get("/docs/guide/", defaults={"path": "index.html"})
@guide.get("/docs/guide/<path:path>")
def guide_file(path: str) -> Response:
    if path.endswith("/"):
        path += "index.html"
    try:
        response = send_from_directory(SITE, path)
    except NotFound:
        missing = _NO_PAGE if (SITE / "index.html").exists() else _NOT_BUILT
        response = Response(missing, status=404, content_type="text/html; charset=utf-8")
    else:
        # The others are asked for again each time and mostly answered by 304, so that an upgrade shows at once.
        response.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if _DIGEST.search(path) else "no-cache"
        )
        if path.endswith((".md", ".txt")):
            # Browsers show plain text and would download Markdown.
            response.headers["Content-Type"] = "text/plain; charset=utf-8"
    response.headers["Content-Security-Policy"] = _POLICY
    return response
