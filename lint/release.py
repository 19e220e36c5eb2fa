"""`python -m lint.release set 1.2.3 | notes v1.2.3`: the version of a release in all files, and its notes.

It needs only the standard library, because a release checks its tag before it installs anything.
"""

import argparse
import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHANGELOG = "CHANGELOG.md"
VERSION = r"\d+\.\d+\.\d+"
# The files that state the version, and the pattern before it. The server reads only the first; the others are of other
# packages.
PLACES = {
    "domain/values/version.py": r'^VERSION = "',
    "sdk/python/src/sagahold/__init__.py": r'^__version__ = "',
    "sdk/python/pyproject.toml": r"sagahold-server\[embedded\]==",
    "sdk/js/package.json": r'^  "version": "',
    "sdk/js/package-lock.json": r'"name": "@sagahold/client",\n +"version": "',
    "deploy/helm/sagahold/Chart.yaml": r"^(?:version|appVersion): ",
    "deploy/kustomize/base/sagahold.yaml": r'app\.kubernetes\.io/version: "|image: "sagahold:',
    "server.json": r'"version": "|sagahold-server==',
}


class ReleaseError(Exception):
    """The files do not fit the release. The message says which and why."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lint.release")
    verbs = parser.add_subparsers(dest="verb", required=True)
    change = verbs.add_parser("set", help="write the version into all files, and date the changelog's top section")
    change.add_argument("version", help="such as 1.2.3")
    tell = verbs.add_parser("notes", help="check all files against the tag, and print the release notes")
    tell.add_argument("tag", help="such as v1.2.3")
    given = parser.parse_args()
    try:
        if given.verb == "set":
            set_version(ROOT, given.version, datetime.now(UTC).strftime("%Y-%m-%d"))
        else:
            print(notes(ROOT, given.tag))
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def versions(root: Path) -> dict[str, set[str]]:
    """Return the versions that each file states."""
    return {
        name: set(re.findall(rf"(?:{pattern})({VERSION})", _read(root, name), re.MULTILINE))
        for name, pattern in PLACES.items()
    }


def set_version(root: Path, version: str, date: str) -> None:
    """Write the version into all files, and the version with its date over the top section of the changelog."""
    if not re.fullmatch(VERSION, version):
        raise ReleaseError(f"{version!r} is not a version: write it as 1.2.3")
    changelog = _read(root, CHANGELOG)
    dated, count = re.subn(rf"^## {VERSION} \(unreleased\)$", f"## {version} ({date})", changelog, flags=re.MULTILINE)
    if count != 1:
        raise ReleaseError(f"{CHANGELOG} has {count} sections `## 1.2.3 (unreleased)`: it needs one, at its top")
    for name, pattern in PLACES.items():
        text = re.sub(rf"({pattern}){VERSION}", rf"\g<1>{version}", _read(root, name), flags=re.MULTILINE)
        (root / name).write_text(text)
    (root / CHANGELOG).write_text(dated)


def notes(root: Path, tag: str) -> str:
    """Return the changelog's section of the release, with links that lead to the files of its tag."""
    version = tag.removeprefix("v")
    others = [f"{name} ({', '.join(found) or 'none'})" for name, found in versions(root).items() if found != {version}]
    if tag != f"v{version}" or others:
        raise ReleaseError(f"the tag is {tag}, but these have another version: {', '.join(others) or 'no v'}")
    section = re.search(
        rf"^## {re.escape(version)} \((\d{{4}}-\d\d-\d\d)\)\n(.*?)(?=^## |\Z)",
        _read(root, CHANGELOG),
        re.MULTILINE | re.DOTALL,
    )
    if section is None:
        raise ReleaseError(f"{CHANGELOG} has no section `## {version} (YYYY-MM-DD)`: run `set {version}` first")
    project = tomllib.loads(_read(root, "pyproject.toml"))["project"]
    files = f"{project['urls']['Homepage']}/blob/{tag}/"
    return re.sub(r"\]\((?!https?://)(?=[\w./-]+(?:#|\)))", f"]({files}", section[2]).strip()


def _read(root: Path, name: str) -> str:
    return (root / name).read_text()


if __name__ == "__main__":
    sys.exit(main())
