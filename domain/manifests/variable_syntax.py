"""A variable of the environment, written as other systems write it. Sent as it stands, it would be a wrong password."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from domain.manifests.definition import ToolSource
from domain.manifests.host_access import REFERENCE, texts_of
from domain.values.errors import FieldError

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_BRACED = r"\$\{\{?[^{}]*\}\}?|\$\{[^\s{}]*"
_MARKED = rf"(?:\$|(?<!\$)\{{)env:\s*{_NAME}\}}?"
# In a URL or a header there is nobody who would replace them.
_ANY = re.compile(
    rf"{_BRACED}|(?i:{_MARKED})|\{{\{{[^{{}}]*\}}\}}|\$\({_NAME}\)|\$ENV\{{{_NAME}\}}"
    r"|(?<![\w$])\$[A-Z_][A-Z0-9_]+\b|(?<![\w%])%[A-Z_][A-Z0-9_]{2,}%(?!\w)"
)
# Of a program: a shell replaces its own variables, so only what names the environment.
_OF_PROGRAM = re.compile(rf"{_BRACED}|(?i:{_MARKED})")
_NAMES_ENVIRONMENT = re.compile(rf"\$\{{ENV|(?i:\$\{{\{{?\s*env\s*[:.]\s*(?:[A-Za-z_]|\}})|{_MARKED})")
_WANTED = re.compile(rf"[^A-Za-z0-9_]*(?:(?i:env|secrets|vars)\s*[:.{{]\s*)?({_NAME})(?=\W*$|\s*:[-=?+])")
_POWERSHELL = ("pwsh", "powershell")
_SHOWN = 80


def faults_of(source: ToolSource) -> Iterator[FieldError]:
    """Each text that has one, with its place in the source and the spelling that is replaced."""
    powershell = PurePosixPath(source.command or "").name.lower().startswith(_POWERSHELL)
    for place, text in texts_of(source):
        of_program = not place.startswith(("url", "headers."))
        if powershell and place.startswith("args"):
            text = re.sub(r"\$env:", " ", text, flags=re.IGNORECASE)
        if (found := _first(text, of_program=of_program)) is not None:
            yield FieldError(place, f"has {found[:_SHOWN]}, which stays as it is: write {_wanted(found)}")


def _first(text: str, *, of_program: bool) -> str | None:
    # Something has to stay in their place, or what stands around them would come together.
    rest = REFERENCE.sub("\0", text)
    found = (match[0] for match in (_OF_PROGRAM if of_program else _ANY).finditer(rest))
    return next((each for each in found if not of_program or _NAMES_ENVIRONMENT.match(each)), None)


def _wanted(found: str) -> str:
    name = _WANTED.match(found)
    return "${ENV:NAME}" if name is None or name[1].upper() == "ENV" else f"${{ENV:{name[1]}}}"
