"""The guide, built as `make docs` builds it: every link leads somewhere, and nothing comes from elsewhere."""

import ast
import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import sagahold
from flask import Flask
from flask.testing import FlaskClient

from app.guide import page as served
from docsite import api_reference
from docsite.build import DOCS, build

# Attributes by which a browser loads something. An `a` leads elsewhere only on a click.
LOADS = {"src", "srcset", "poster", "data", "action", "formaction", "background"}


class Page(HTMLParser):
    """The ids, links and loads of a page, and scripts and styles that the policy of /docs/guide forbids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.inline: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        self.loads += [value for name, value in found.items() if name in LOADS]
        if "href" in found:
            (self.links if tag == "a" or found.get("rel") in ("prev", "next") else self.loads).append(found["href"])
        data = found.get("type") == "application/json"
        if tag == "style" or (tag == "script" and "src" not in found and not data):
            self.inline.append(self.get_starttag_text() or tag)
        self.inline += [name for name in found if name == "style" or name.startswith("on")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide") / "site"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    # The page for a missing address is for servers of static files at the root.
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def broken(site: Path, pages: dict[Path, Page], source: Path, links: list[str]) -> Iterator[str]:
    for link in links:
        parts = urlsplit(link)
        if parts.scheme in ("http", "https", "data") or parts.netloc:
            continue
        target = (source.parent / unquote(parts.path)).resolve() if parts.path else source
        target = target / "index.html" if target.is_dir() else target
        if not target.is_relative_to(site) or not target.is_file():
            yield f"{source.relative_to(site)} → {link}"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
            yield f"{source.relative_to(site)} → {link}: no such anchor"


def test_every_link_and_anchor_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 60
    assert [each for path, page in pages.items() for each in broken(site, pages, path, page.links + page.loads)] == []


def test_every_link_of_the_markdown_leads_somewhere(site: Path) -> None:
    texts = {path: re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL) for path in site.rglob("*.md")}
    texts[site / "llms.txt"] = (site / "llms.txt").read_text()
    links = {path: re.findall(r"\]\(([^)\s#]+)[^)]*\)", text) for path, text in texts.items()}
    assert sum(map(len, links.values())) > 200
    assert [each for path, found in links.items() for each in broken(site, {}, path, found)] == []


def test_no_page_loads_anything_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        foreign = [each for each in page.loads if re.match(r"(?!data:)([a-z]+:)|//", each)]
        assert (foreign, page.inline) == ([], []), path
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?!data:|[\"'])[^)]{,60}|@import[^;]*", path.read_text()) == [], path


def test_a_page_from_elsewhere_would_be_noticed(site: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<link rel="stylesheet" href="https://cdn.example/x.css"><script>1</script><p style="color: red">'
        '<script src="//cdn.example/x.js"></script><a href="nowhere.html">x</a><a href="#nothing">y</a>'
    )
    page = Page(tmp_path / "page.html")
    assert page.loads == ["https://cdn.example/x.css", "//cdn.example/x.js"]
    assert page.inline == ["<script>", "style"]
    found = broken(tmp_path, {tmp_path / "page.html": page}, tmp_path / "page.html", page.links)
    assert list(found) == ["page.html → nowhere.html", "page.html → #nothing: no such anchor"]


def test_each_page_has_its_markdown_and_a_place_in_the_navigation(site: Path, pages: dict[Path, Page]) -> None:
    listed = set(re.findall(r"\]\(([^)]+\.md)\)", (site / "llms.txt").read_text()))
    start = {urlsplit(link).path for link in pages[site / "index.html"].links}
    for path in pages:
        name = str(path.relative_to(site))
        assert path.with_suffix(".md").is_file(), name
        if not name.startswith("adr/"):
            assert str(Path(name).with_suffix(".md")) in listed
            assert {name, f"./{name}"} & start or name == "index.html", name
    assert len(listed) >= len(list(DOCS.glob("*.md")))


def test_no_list_or_table_is_left_as_text(site: Path, pages: dict[Path, Page]) -> None:
    """Where GitHub sees a list, the generator may see none: it wants an empty line before and four spaces within."""
    for path in pages:
        (article,) = re.findall(r"<article.*</article>", path.read_text(), re.DOTALL)
        text = re.sub(r"<(pre|svg|h1)\b.*?</\1>", "", article, flags=re.DOTALL)
        left = re.findall(r"\n *(?:- |\d\. |\| ?---).{,60}|```", text)
        assert r"\|" not in article, path
        assert left == [], f"{path.name}: put an empty line before the list, and indent its parts by four spaces"


def test_the_policy_admits_the_style_that_the_search_adds(site: Path) -> None:
    (bundle,) = (site / "assets" / "javascripts").glob("bundle.*.js")
    text = bundle.read_text()
    (name,) = re.findall(r"""\("style",\{\},([$\w]+)\.toString\(\)\)""", text)
    (style,) = re.findall(rf"[,\s]{re.escape(name)}='((?:[^'\\\\]|\\\\.)*)'", text)
    digest = hashlib.sha256(ast.literal_eval(f"'{style}'").encode()).digest()
    assert f"sha256-{base64.b64encode(digest).decode()}" == served.SEARCH_STYLE


def test_the_references_are_complete(site: Path) -> None:
    python = (site / "reference" / "python.md").read_text()
    for name in (*sagahold.__all__, "testing.FakeApprover", "adapters.langgraph.resume"):
        assert f"\n### `sagahold.{name}`\n" in python
    api = "".join(path.read_text() for path in (site / "reference" / "api").glob("*.md"))
    for method, path, operation in api_reference.operations():
        assert f"\n{method} {path}\n" in api
        assert f'<a id="{operation["operationId"]}">' in api
    commands = (site / "reference" / "commands.md").read_text()
    assert "\n## sagahold hook doctor\n" in commands


class TestServed:
    @pytest.fixture
    def client(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
        monkeypatch.setattr(served, "SITE", site)
        app = Flask("test")
        app.register_blueprint(served.guide)
        return app.test_client()

    def test_pages_and_files(self, client: FlaskClient, site: Path) -> None:
        kinds = {"": "text/html", "agents.html": "text/html", "agents.md": "text/plain", "llms.txt": "text/plain"}
        for name, kind in {**kinds, "doors/": "text/html", "openapi.json": "application/json"}.items():
            answer = client.get(f"/docs/guide/{name}")
            assert (answer.status_code, answer.mimetype) == (200, kind), name
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-cache"
            again = client.get(f"/docs/guide/{name}", headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status_code == 304
        (script,) = (site / "assets" / "javascripts").glob("bundle.*.js")
        assert "immutable" in client.get(f"/docs/guide/{script.relative_to(site)}").headers["Cache-Control"]

    @pytest.mark.parametrize("path", ["nothing.html", "../page.py", "%2e%2e/page.py", "doors"])
    def test_no_other_file_is_served(self, client: FlaskClient, path: str) -> None:
        answer = client.get(f"/docs/guide/{path}")
        assert answer.status_code == 404
        assert '<a href="/docs/guide/">' in answer.text

    def test_without_a_build_the_page_says_how_to_get_one(
        self, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(served, "SITE", tmp_path)
        answer = client.get("/docs/guide/")
        assert answer.status_code == 404
        assert "<code>make docs</code>" in answer.text
