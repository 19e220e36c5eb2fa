"""Environment variables in the syntax of other systems, which are not replaced: a server would get a wrong password."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from domain.manifests.definition import ToolSource
from domain.manifests.host_access import REFERENCE, texts_of
from domain.values.errors import FieldError

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_BRACED = r"\$\{\{?[^{}]*\}\}?|\$\{[^\s{}]*"
_MARKED = rf"(?:\$|(?<!\$)\{{)env:\s*{_NAME}\}}?"
# Nothing replaces these in a URL or a header.
_ANY = re.compile(
    rf"{_BRACED}|(?i:{_MARKED})|\{{\{{[^{{}}]*\}}\}}|\$\({_NAME}\)|\$ENV\{{{_NAME}\}}"
    r"|(?<![\w$])\$[A-Z_][A-Z0-9_]+\b|(?<![\w%])%[A-Z_][A-Z0-9_]{2,}%(?!\w)"
)
# A program may be a shell, which replaces its own variables. So only syntax that names the environment counts.
_IN_PROGRAM = re.compile(rf"{_BRACED}|(?i:{_MARKED})")
_NAMES_ENVIRONMENT = re.compile(rf"\$\{{ENV|(?i:\$\{{\{{?\s*env\s*[:.]\s*(?:[A-Za-z_]|\}})|{_MARKED})")
_WANTED = re.compile(rf"[^A-Za-z0-9_]*(?:(?i:env|secrets|vars)\s*[:.{{]\s*)?({_NAME})(?=\W*$|\s*:[-=?+])")
_POWERSHELL = ("pwsh", "powershell")
_SHOWN = 80


def field_errors(source: ToolSource) -> Iterator[FieldError]:
    """Yield an error for each text with such a variable: its place in the source and the correct syntax."""
    powershell = PurePosixPath(source.command or "").name.lower().startswith(_POWERSHELL)
    for place, text in texts_of(source):
        in_program = not place.startswith(("url", "headers."))
        if powershell and place.startswith("args"):
            text = re.sub(r"\$env:", " ", text, flags=re.IGNORECASE)
        if (found := _first(text, in_program=in_program)) is not None:
            yield FieldError(place, f"has {found[:_SHOWN]}, which is not replaced: write {_replacement(found)}")


def _first(text: str, *, in_program: bool) -> str | None:
    # A placeholder keeps the texts around a reference apart.
    rest = REFERENCE.sub("\0", text)
    found = (match[0] for match in (_IN_PROGRAM if in_program else _ANY).finditer(rest))
    return next((each for each in found if not in_program or _NAMES_ENVIRONMENT.match(each)), None)


def _replacement(found: str) -> str:
    name = _WANTED.match(found)
    return "${ENV:NAME}" if name is None or name[1].upper() == "ENV" else f"${{ENV:{name[1]}}}"
