"""What tool sources may use of the machines that workers run on: programs, and variables of the environment.

An admin of all namespaces may do what the operator of these machines may, but for the service's own variables. An admin
of some namespaces (`ToolSource.scoped`) may do what the operator has named.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from domain.manifests.definition import ToolSource, Transport
from domain.values.errors import FieldError

REFERENCE = re.compile(r"\$\{ENV:([A-Za-z_][A-Za-z0-9_]*)\}")
# What programs need to run at all, and hold no secrets.
PLAIN = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
# The service's own: whoever reads them reads and decides everything.
_OWN = re.compile(r"DATABASE_URL|REDIS_URL|(SAGAHOLD|WARDEN|OTEL|CELERY|GRANIAN)_.*|PG[A-Z]+")
# Workers' own keys to models: for a tool only where the operator names them in full.
_MODELS = re.compile(r"(OPENAI|ANTHROPIC)_.*")
# By these a variable becomes a program: they have a loader, an interpreter or a shell run something else.
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
        commands: each the first words of a command line that may be started; none leaves it to admins of all.
        names, prefixes: of variables that tool sources may read; neither leaves it to admins of all.
    """

    commands: tuple[tuple[str, ...], ...] = ()
    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def field_errors(self, source: ToolSource) -> Iterator[FieldError]:
        """Everything that this source may not use, with its place in the source."""
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
        """The entry of the list of commands by which this source may be started."""
        line = (source.command or "", *source.args)
        return next((entry for entry in self.commands if line[: len(entry)] == entry), None)

    def _program_errors(self, source: ToolSource) -> Iterator[FieldError]:
        entry = self.listed(source)
        if self.commands and entry is None:
            yield FieldError(
                "command",
                f"{source.command!r} with these args is not in SAGAHOLD_STDIO_COMMANDS, the list of programs that the"
                " operator of this server lets tool sources start",
            )
        elif entry is None and source.scoped:
            yield FieldError(
                "command",
                "starts a program on the server's machines, which only an admin of all namespaces may: have one deploy"
                " this worker, or have the operator list the program in SAGAHOLD_STDIO_COMMANDS",
            )
        if not source.scoped:
            return
        if entry is not None and len(entry) > 1 and source.cwd is not None:
            yield FieldError(
                "cwd", "would change which files the listed command means: only admins of all namespaces may"
            )
        for name in source.env:
            if _LOADING.fullmatch(name):
                message = "can make the listed program run another one: only admins of all namespaces may set it"
                yield FieldError(f"env.{name}", message)

    def _name_error(self, name: str, *, scoped: bool) -> str | None:
        if name in PLAIN or name in self.names:
            return None
        if is_own(name):
            return f"the variable {name} belongs to the service itself: no tool source may read it"
        if _MODELS.fullmatch(name):
            return f"the variable {name} is a worker's own: the operator must name it in SAGAHOLD_TOOL_ENV, in full"
        if name.startswith(self.prefixes):
            return None
        if self.names or self.prefixes:
            return f"the variable {name} is not one of SAGAHOLD_TOOL_ENV, which tool sources may read"
        if scoped:
            return (
                f"the variable {name} may be read only by tool sources that an admin of all namespaces deploys, until"
                " the operator names it in SAGAHOLD_TOOL_ENV"
            )
        return None


def commands_of(text: str) -> tuple[tuple[str, ...], ...]:
    """As the operator lists them, with commas. Raises `ValueError`."""
    found = tuple(tuple(shlex.split(part)) for part in text.split(",") if part.strip())
    for first, *_ in found:
        if "/" in first and not first.startswith("/"):
            raise ValueError(f"{first!r} is neither a name on PATH nor a whole path from /")
    return found


def names_of(text: str) -> tuple[str, ...]:
    """Names of variables and beginnings of names, likewise. Raises `ValueError`."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name):
            raise ValueError(f"{name!r} is neither the name of a variable nor the beginning of names, like TOOL_*")
        if is_own(name):
            raise ValueError(f"{name} belongs to the service itself, and no tool may read it")
    return names


def is_own(name: str) -> bool:
    """Whether this variable of the environment is the service's own."""
    return _OWN.fullmatch(name) is not None


def texts_of(source: ToolSource) -> Iterator[tuple[str, str]]:
    """The texts of a source in which `${ENV:NAME}` is replaced, each with its place."""
    for place in ("url", "command", "cwd"):
        yield place, getattr(source, place) or ""
    yield from ((f"args[{index}]", text) for index, text in enumerate(source.args))
    yield from _named("headers", source.headers)
    yield from _named("env", source.env)


def _named(place: str, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{place}.{name}", text) for name, text in texts.items())
