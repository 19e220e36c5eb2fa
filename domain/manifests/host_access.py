"""The programs and environment variables of a worker's machine that tool sources may use.

An admin of all namespaces may do what the operator of the machine may, except read the service's own variables. An
admin of some namespaces (`ToolSource.scoped`) may use only what the operator has listed.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from domain.manifests.definition import ToolSource, Transport
from domain.values.errors import FieldError

REFERENCE = re.compile(r"\$\{ENV:([A-Za-z_][A-Za-z0-9_]*)\}")
# Programs need these to run, and they contain no secrets.
PLAIN = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
# The service's own variables: a program that reads them can read and decide everything.
_OWN = re.compile(r"DATABASE_URL|REDIS_URL|(SAGAHOLD|WARDEN|OTEL|CELERY|GRANIAN)_.*|PG[A-Z]+")
# The workers' own model keys. A tool may read one only if the operator lists its full name.
_MODELS = re.compile(r"(OPENAI|ANTHROPIC)_.*")
# These variables make a loader, an interpreter or a shell run another program.
_LOADING = re.compile(
    r"PATH|HOME|SHELL|IFS|ENV|BASH.*|SHELLOPTS|PROMPT_COMMAND|PS4|ZDOTDIR|EDITOR|VISUAL|PAGER|BROWSER|CLASSPATH|GOFLAGS"
    r"|(PYTHON|PERL|RUBY|PHP|LESS|GLIBC).*|(LD|DYLD|PIP|UV|NODE|NPM|DENO|BUN|GEM|BUNDLE|LUA|JAVA|JDK_JAVA|_JAVA|DOTNET"
    r"|CORECLR|COMPLUS|GIT|SSH|XDG|R|JULIA|GCONV|MALLOC|OPENSSL|SSL|CURL|NIX|CONDA)_.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class HostRules:
    """
    Attributes:
        commands: the first words of each allowed command line. If empty, only admins of all namespaces may add one.
        names, prefixes: the variables that tool sources may read. If both are empty, only such admins may add one.
    """

    commands: tuple[tuple[str, ...], ...] = ()
    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def field_errors(self, source: ToolSource) -> Iterator[FieldError]:
        """Yield an error for everything that this source may not use, with its place in the source."""
        if source.transport is Transport.STDIO:
            yield from self._program_errors(source)
        for place, text in texts_of(source):
            for name in REFERENCE.findall(text):
                if message := self._name_error(name, scoped=source.scoped):
                    yield FieldError(place, message)
        for index, name in enumerate(source.env_inherit):
            if message := self._name_error(name, scoped=source.scoped):
                yield FieldError(f"env_inherit[{index}]", message)

    def listed(self, source: ToolSource) -> tuple[str, ...] | None:
        """Return the entry of `commands` that allows this source to start, or None."""
        line = (source.command or "", *source.args)
        return next((entry for entry in self.commands if line[: len(entry)] == entry), None)

    def _program_errors(self, source: ToolSource) -> Iterator[FieldError]:
        entry = self.listed(source)
        if self.commands and entry is None:
            yield FieldError(
                "command",
                f"{source.command!r} with these args is not in SAGAHOLD_STDIO_COMMANDS: use a listed program, or ask"
                " the operator of this server to add it",
            )
        elif entry is None and source.scoped:
            yield FieldError(
                "command",
                "starts a program, which needs an admin of all namespaces: ask one to deploy this worker, or ask the"
                " operator to list it in SAGAHOLD_STDIO_COMMANDS",
            )
        if not source.scoped:
            return
        if entry is not None and len(entry) > 1 and source.cwd is not None:
            yield FieldError(
                "cwd", "would change the files of the listed command: only admins of all namespaces may set it"
            )
        for name in source.env:
            if _LOADING.fullmatch(name):
                message = "could make the listed program run another one: only admins of all namespaces may set it"
                yield FieldError(f"env.{name}", message)

    def _name_error(self, name: str, *, scoped: bool) -> str | None:
        if name in PLAIN or name in self.names:
            return None
        if is_own(name):
            return f"the variable {name} belongs to the service itself: no tool source may read it"
        if _MODELS.fullmatch(name):
            return f"the variable {name} is a worker's own: ask the operator to list its full name in SAGAHOLD_TOOL_ENV"
        if name.startswith(self.prefixes):
            return None
        if self.names or self.prefixes:
            return f"the variable {name} is not in SAGAHOLD_TOOL_ENV: ask the operator to add it"
        if scoped:
            return (
                f"the variable {name} needs an admin of all namespaces: ask one to deploy this worker, or ask the"
                " operator to list it in SAGAHOLD_TOOL_ENV"
            )
        return None


def commands_of(text: str) -> tuple[tuple[str, ...], ...]:
    """Parse the operator's comma-separated list of commands. Raises `ValueError`."""
    found = tuple(tuple(shlex.split(part)) for part in text.split(",") if part.strip())
    for first, *_ in found:
        if "/" in first and not first.startswith("/"):
            raise ValueError(f"{first!r} is neither a name on PATH nor an absolute path")
    return found


def names_of(text: str) -> tuple[str, ...]:
    """Parse the operator's comma-separated list of variable names and prefixes. Raises `ValueError`."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name):
            raise ValueError(f"{name!r} is neither the name of a variable nor a prefix, like TOOL_*")
        if is_own(name):
            raise ValueError(f"{name} belongs to the service itself, and no tool may read it: remove it")
    return names


def is_own(name: str) -> bool:
    """Return whether this environment variable is the service's own."""
    return _OWN.fullmatch(name) is not None


def texts_of(source: ToolSource) -> Iterator[tuple[str, str]]:
    """Yield the texts of a source in which `${ENV:NAME}` is replaced, each with its place."""
    for place in ("url", "command", "cwd"):
        yield place, getattr(source, place) or ""
    yield from ((f"args[{index}]", text) for index, text in enumerate(source.args))
    yield from _named("headers", source.headers)
    yield from _named("env", source.env)


def _named(place: str, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{place}.{name}", text) for name, text in texts.items())
