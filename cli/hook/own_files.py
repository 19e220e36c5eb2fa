"""The files that say what is held, and those of the server on this machine. No rule passes a call that names one."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.hook.state import default_folder

FILE = "sagahold.toml"
NAMES = ("settings.json", "settings.local.json", FILE)
FOLDERS = (".sagahold", "sagahold-hook")
# As in `cli.client`, which a call that needs no server does not import.
CREDENTIALS = "credentials.json"
# This tool of Claude Code reads all files of a folder.
SEARCH = "Grep"
MAX_PATH = 4096


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """The places of the own files on this machine, as paths without links.

    Attributes:
        places: files and folders.
        data: the folder where `sagahold up` keeps its keys.
    """

    places: tuple[str, ...] = ()
    data: str | None = None

    def named(self, tool: str, arguments: Mapping[str, Any], cwd: str) -> bool:
        """Return whether the call names an own file in any of its arguments, or searches the keys."""
        if tool == SEARCH and self._searched(arguments, cwd):
            return True
        return any(self._is_own(text, cwd) for text in _texts(arguments))

    def _searched(self, arguments: Mapping[str, Any], cwd: str) -> bool:
        folder = arguments.get("path") or "."
        keys = None if self.data is None else os.path.join(self.data, CREDENTIALS)
        return keys is not None and os.path.exists(keys) and _inside(keys, real(str(folder), cwd))

    def _is_own(self, text: str, cwd: str) -> bool:
        if not text or len(text) > MAX_PATH or "\0" in text:
            return False
        file = real(text, cwd)
        # A link from an own name to another file is an own file, and so is that other file.
        return any(map(_has_own_name, (file, absolute(text, cwd)))) or any(_inside(file, own) for own in self.places)


UNKNOWN_PLACES = OwnFiles()


def find_own_files(project: Path, user: Path, rules: Path | None, data_dir: Path) -> OwnFiles:
    """Return the places in this project and of this user."""
    folders = (project / ".claude", user)
    files = [folder / name for folder in folders for name in NAMES] + ([] if rules is None else [rules])
    places = [*files, default_folder(), data_dir]
    return OwnFiles(tuple(os.path.realpath(place) for place in places), os.path.realpath(data_dir))


def user_folder() -> Path:
    """Return the folder in which Claude Code keeps this user's settings."""
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")


def absolute(name: str, cwd: str) -> str:
    return os.path.normpath(os.path.join(cwd, os.path.expanduser(name)))


def real(name: str, cwd: str) -> str:
    """Return the absolute path without links."""
    return os.path.realpath(os.path.join(cwd, os.path.expanduser(name)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _inside(file: str, place: str) -> bool:
    # Some file systems do not tell upper case from lower case.
    file, place = file.casefold(), place.casefold()
    return file == place or file.startswith(place.rstrip(os.sep) + os.sep)


def _has_own_name(file: str) -> bool:
    path = Path(file.casefold())
    return (path.parent.name == ".claude" and path.name in NAMES) or any(folder in path.parts for folder in FOLDERS)
