"""The names of tools that a model sees. MCP allows dots, slashes and longer names than providers accept."""

import hashlib
import re
from collections.abc import Iterable

from domain.manifests.reasoning_parser import READ_RESOURCE, SUBMIT

# OpenAI and Anthropic refuse the whole request for any other name.
_LONGEST = 64
_USABLE = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")
# Hex digits of a digest, which keeps shortened and equal names apart.
_DIGITS = 8


def shown_names(names: Iterable[str]) -> dict[str, str]:
    """Return each tool's own name, by the name that a model sees. The order of `names` does not matter."""
    own = sorted(set(names))
    found = {name: name for name in own if _USABLE.fullmatch(name)}
    for name in own:
        if name not in found:
            found[_usable(name, {SUBMIT, READ_RESOURCE, *found})] = name
    return found


def _usable(name: str, taken: set[str]) -> str:
    plain = _REFUSED.sub("_", name)
    shown, digest = plain, name
    while shown in taken or not _USABLE.fullmatch(shown):
        digest = hashlib.sha256(digest.encode()).hexdigest()
        shown = f"{plain[: _LONGEST - _DIGITS - 1]}_{digest[:_DIGITS]}"
    return shown
