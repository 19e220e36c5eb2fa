"""The settings files of Claude Code: find, add and remove the hook, and keep everything else."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.client import Failure
from cli.hook.events import FAILED, PERMISSION, POST, PRE, TIMEOUT

EVENTS = (PRE, POST, FAILED)
ENTRY = frozenset({"type", "command", "timeout", "statusMessage"})
OPTION = re.compile(r" --timeout (\d+)\b")
OURS = re.compile(r"""sagahold['"]? hook claude\b""")


class BadSettings(Failure):
    """The settings file cannot be changed. It stays as it is."""


def read(file: Path) -> dict[str, Any]:
    """Return the settings; empty without a file. Raises `BadSettings`."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = json.loads(text, object_pairs_hook=_object) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise BadSettings(f"{file} is not JSON ({error}): correct it; nothing is changed") from None
    hooks = found.get("hooks", {}) if isinstance(found, dict) else None
    if not isinstance(hooks, dict) or not all(_is_sound(groups) for groups in hooks.values()):
        raise BadSettings(f"{file} has no settings of Claude Code with lists of hooks: correct it; nothing is changed")
    return dict(found)


def installed(settings: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the events and entries of the hook, each with what lets calls past it: a text, or empty."""
    for event, groups in settings.get("hooks", {}).items():
        for group in groups:
            for entry in group["hooks"]:
                if _is_ours(entry):
                    yield event, entry, _weakness(group, entry)


def with_hook(settings: dict[str, Any], command: str, timeout: int, *, permissions: bool) -> dict[str, Any]:
    """Return the settings with the hook, in the place of an earlier version of it."""
    kept = without_hook(settings)
    hooks = dict(kept.get("hooks", {}))
    entry = {"type": "command", "command": command, "timeout": timeout}
    for event in (*EVENTS, PERMISSION) if permissions else EVENTS:
        hooks[event] = [*hooks.get(event, []), {"matcher": "*", "hooks": [entry]}]
    return {**kept, "hooks": hooks}


def without_hook(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the hook, and without what only the hook needed."""
    found = {event: _others(groups) for event, groups in settings.get("hooks", {}).items()}
    hooks = {event: groups for event, groups in found.items() if groups or not settings["hooks"][event]}
    if hooks or not settings.get("hooks", {}):
        return {**settings, "hooks": hooks} if "hooks" in settings else dict(settings)
    return {name: value for name, value in settings.items() if name != "hooks"}


def text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def write(file: Path, content: str) -> None:
    """Replace the file in one step. A link stays a link."""
    file = Path(os.path.realpath(file))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as made:
            made.write(content)
        os.chmod(made.name, mode)
        os.replace(made.name, file)
    except OSError as error:
        raise BadSettings(f"cannot write {file}: {error.strerror}") from None


def _weakness(group: dict[str, Any], entry: dict[str, Any]) -> str:
    """Return what was changed in the entry so that a call runs without its answer."""
    if group.get("matcher", "*") not in ("", "*"):
        return f"only for the tools {group['matcher']}"
    if other := sorted((group.keys() - {"matcher", "hooks"}) | (entry.keys() - ENTRY)):
        return f"with the setting {other[0]}, which may let a call pass"
    within = OPTION.search(entry["command"])
    allowed = entry.get("timeout")
    # Claude Code ends a hook after the entry's timeout, and runs the tool.
    if not isinstance(allowed, int) or allowed < (int(within[1]) if within else TIMEOUT):
        return f"with the timeout {allowed}, which is shorter than that of its command"
    return ""


def _others(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = []
    for group in groups:
        entries = [entry for entry in group["hooks"] if not _is_ours(entry)]
        if entries or not group["hooks"]:
            kept.append({**group, "hooks": entries})
    return kept


def _is_ours(entry: Any) -> bool:
    return isinstance(entry, dict) and bool(OURS.search(str(entry.get("command", ""))))


def _is_sound(groups: Any) -> bool:
    return isinstance(groups, list) and all(
        isinstance(group, dict) and isinstance(group.get("hooks"), list) for group in groups
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found
