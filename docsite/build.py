"""Build the guide: the pages of docs/ and the references as a site that needs nothing from elsewhere.

`python -m docsite.build [FOLDER]`; the default is the folder that the server shows at /docs/guide.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from docsite import api_reference, command_reference, python_reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = ROOT / "app" / "guide" / "site"
_REPOSITORY = "https://github.com/sagahold/sagahold/blob/main"
_SUMMARY = "Sagahold holds an AI agent's risky action until a person has decided on it."
_FIRST = ("index.md", "compared.md")
# In the order of the navigation. A page that no section names is in the last one; decision records are in none.
_SECTIONS = {
    "Agent developers": (
        "agents.md", "sdk-python.md", "sdk-typescript.md", "manifests.md", "prompts.md", "states.md",
    ),
    "Clients and frameworks": ("doors/index.md", "doors/"),
    "Reviewers": ("reviewers.md", "reviews.md", "sagas.md"),
    "Operators": (
        "operations.md", "deploying.md", "upgrading.md", "backup.md", "people.md", "notifications.md", "benchmarks.md",
    ),
    "Security reviewers": ("security.md", "audit.md", "retention.md", "receipts.md"),
    "Reference": ("reference/api/index.md", "reference/api/", "reference/", "glossary.md"),
    "More": ("",),
}  # fmt: skip

_ROW, _CODE = re.compile(r"^\|.*", re.MULTILINE), re.compile(r"`[^`]+`")
_LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")
# Scripts that run; `type="application/json"` is data.
_INLINE = re.compile(r"<script>(.+?)</script>", re.DOTALL)


def build(site: Path = SITE) -> None:
    """Replace the folder `site` by a new build. Raise `CalledProcessError` if the generator fails."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        pages = _pages()
        for name, text in pages.items():
            path = stage / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_for_the_generator(text))
        shutil.copytree(DOCS / "images", stage / "src" / "images")
        shutil.copy(Path(__file__).with_name("guide.css"), stage / "src")
        settings = Path(__file__).with_name("zensical.toml").read_text()
        (stage / "zensical.toml").write_text(settings.replace("nav = []", f"nav = {_navigation(pages)}"))
        subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict"], cwd=stage, check=True)
        built = stage / "site"
        for name, text in pages.items():
            (built / name).write_text(text)
        for page in built.rglob("*.html"):
            _finish(page, built)
        (built / "openapi.json").write_text(json.dumps(api_reference.document(), indent=1, ensure_ascii=False))
        (built / "llms.txt").write_text(_list_for_models(pages))
        (built / "llms-full.txt").write_text("\n\n".join(pages[name] for name in _listed(pages)))
        # A reader during the build gets the old site or the new one.
        fresh = site.with_name(f".{site.name}.{os.getpid()}")
        shutil.copytree(built, fresh)
        shutil.rmtree(site, ignore_errors=True)
        fresh.rename(site)


def _pages() -> dict[str, str]:
    """Return the Markdown of each page by its name in the site, where a folder's README is its index."""
    pages = {}
    for path in sorted(DOCS.rglob("*.md")):
        name = path.relative_to(DOCS)
        pages[_index(str(name))] = _with_links_for_the_site(path.read_text(), path.parent)
    references = api_reference.pages() | python_reference.pages() | command_reference.pages()
    return pages | {f"reference/{name}": text for name, text in references.items()}


def _index(path: str) -> str:
    return re.sub(r"(^|/)README\.md$", r"\1index.md", path)


def _with_links_for_the_site(text: str, folder: Path) -> str:
    """Point links to files outside docs/ at the repository."""

    def target(match: re.Match[str]) -> str:
        path, anchor = Path(os.path.normpath(folder / match[1])), match[2] or ""
        if path.is_relative_to(DOCS) or not path.is_relative_to(ROOT):
            return f"]({_index(match[1])}{anchor})"
        return f"]({_REPOSITORY}/{path.relative_to(ROOT)}{anchor})"

    return _LINK.sub(target, text)


def _for_the_generator(text: str) -> str:
    """Unescape `|` in the code of table cells, where other readers need the escape and the generator shows it."""

    def unescaped(row: re.Match[str]) -> str:
        return _CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0])

    return _ROW.sub(unescaped, text)


def _sections(pages: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of the pages of each section. A wanted name may be a folder, or empty for all the rest."""
    left = [name for name in pages if name not in _FIRST and not name.startswith("adr/")]
    sections: dict[str, list[str]] = {}
    for title, wanted in _SECTIONS.items():
        found = sections[title] = []
        for each in wanted:
            folder = each.endswith("/") or not each
            found += [name for name in left if name == each or (folder and name.startswith(each))]
            left = [name for name in left if name not in found]
    return {title: names for title, names in sections.items() if names}


def _navigation(pages: Mapping[str, str]) -> str:
    """Return the navigation as TOML."""
    entries = [f"{{ {json.dumps(title)} = {json.dumps(names)} }}" for title, names in _sections(pages).items()]
    return f"[{', '.join([*map(json.dumps, _FIRST), *entries])}]"


def _finish(page: Path, site: Path) -> None:
    """Let the page do with `script-src 'self'`, and name its Markdown."""
    up = "../" * (len(page.relative_to(site).parts) - 1)

    def moved(match: re.Match[str]) -> str:
        # Some scripts know their own folder only by the page's address; they still run in the page.
        name = f"assets/javascripts/inline.{hashlib.sha256(match[1].encode()).hexdigest()[:8]}.js"
        (site / name).write_text(match[1])
        return f'<script src="{up}{name}"></script>'

    # Wide code scrolls, so the keyboard must reach it. The theme's script removes this where it is not needed.
    text = _INLINE.sub(moved, page.read_text()).replace(
        "<pre><span></span><code>", '<pre><span></span><code tabindex="0">'
    )
    if page.with_suffix(".md").exists():
        text = text.replace("</head>", f'<link rel="alternate" type="text/markdown" href="{page.stem}.md"></head>', 1)
    page.write_text(text)


def _listed(pages: Mapping[str, str]) -> list[str]:
    return [*_FIRST, *(name for names in _sections(pages).values() for name in names)]


def _list_for_models(pages: Mapping[str, str]) -> str:
    """Return llms.txt: the name and address of each page's Markdown, without the decision records."""
    lines = ["# Sagahold", "", f"> {_SUMMARY}", "", "All pages in one file: [llms-full.txt](llms-full.txt)", ""]
    lines += [*(f"- [{title_of(pages[name])}]({name})" for name in _FIRST), ""]
    for title, names in _sections(pages).items():
        lines += [f"## {title}", "", *(f"- [{title_of(pages[name])}]({name})" for name in names), ""]
    return "\n".join(lines)


def title_of(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    assert found is not None, "each page has a title"
    return found[1]


if __name__ == "__main__":
    build(*(Path(path).absolute() for path in sys.argv[1:2]))
