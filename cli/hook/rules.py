"""The rules of a hook: which tool calls pass, which are held for a decision, which are refused.

A rules file is TOML. The first rule that names a call counts; a call that no rule names is held.
"""

import fnmatch
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from cli.hook.own_files import UNKNOWN_PLACES, OwnFiles, real

# The fields of Claude Code's tools that name a file.
PATH_FIELDS = ("file_path", "notebook_path", "path")
# Parts of a shell command that run another command, or read and write files. zsh and PowerShell run what is in
# parentheses, such as `ls =(id)`.
SHELL_WORDS = re.compile(r"[;&|<>()`\n\r]|\$\{")
STARTER = """\
# Which tool calls Sagahold holds for a decision. The first rule that names a call counts.
# do = "pass" leaves the call to the permissions of Claude Code, "hold" asks a person, "refuse" blocks it.
# A call that no rule names is held. See docs/doors/claude-code.md.

[[rule]]
tool = ["Read", "Glob", "Grep", "LS", "NotebookRead", "TodoWrite", "Task*", "Agent", "ToolSearch"]
do = "pass"

[[rule]]
tool = ["AskUserQuestion", "ExitPlanMode", "EnterPlanMode"]
do = "pass"

[[rule]]
tool = "Bash"
command = 'pwd|ls( .*)?|git status|git (diff|log)( --stat)?'
do = "pass"
"""


class BadRules(Exception):
    """The rules file cannot be read. The message says where and why."""


class Do(IntEnum):
    """The treatment of a call; a larger value is stricter."""

    PASS = 0
    HOLD = 1
    REFUSE = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `command` and `path` are None if every value matches.

    Attributes:
        tools: patterns of the tool's name.
        compound: whether a pass rule also passes a command of several commands.
        review: the approval policy of the request.
    """

    tools: tuple[str, ...] = ("*",)
    command: re.Pattern[str] | None = None
    path: re.Pattern[str] | None = None
    do: Do = Do.HOLD
    compound: bool = False
    reason: str | None = None
    review: Mapping[str, Any] | None = None
    defer: bool = False
    expires_in: int | None = None

    def names(self, tool: str, arguments: Mapping[str, Any], cwd: str) -> bool:
        if not any(fnmatch.fnmatchcase(tool, pattern) for pattern in self.tools):
            return False
        if self.command is not None:
            command = arguments.get("command")
            if not isinstance(command, str) or not self._matches(self.command, command):
                return False
            if self.do is Do.PASS and not self.compound and SHELL_WORDS.search(command):
                return False
        if self.path is not None:
            found = [self._matches(self.path, file) for file in files(arguments, cwd)]
            return bool(found) and (all(found) if self.do is Do.PASS else any(found))
        return True

    def _matches(self, pattern: re.Pattern[str], text: str) -> bool:
        # A call may slip into a pass rule by a part of its text, and out of another rule by what surrounds that part.
        return bool(pattern.fullmatch(text) if self.do is Do.PASS else pattern.search(text))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one file. `default` is for calls that no rule names."""

    rules: tuple[Rule, ...] = ()
    default: Rule = field(default_factory=Rule)

    def of(self, tool: str, arguments: Mapping[str, Any], cwd: str, own: OwnFiles = UNKNOWN_PLACES) -> Rule:
        found = next((rule for rule in self.rules if rule.names(tool, arguments, cwd)), self.default)
        return Rule() if found.do is Do.PASS and own.named(tool, arguments, cwd) else found


def strictest(
    found: list[Rules], tool: str, arguments: Mapping[str, Any], cwd: str, own: OwnFiles = UNKNOWN_PLACES
) -> Rule:
    """Return the strictest rule of several files, so that a project cannot loosen its user's rules.

    Equally strict rules count together. Where both have a setting, the first file's counts.
    """
    named = [rules.of(tool, arguments, cwd, own) for rules in found] or [Rule()]
    do = max(rule.do for rule in named)
    equal = [rule for rule in named if rule.do is do]
    return replace(
        equal[0],
        reason=next((rule.reason for rule in equal if rule.reason is not None), None),
        review=next((rule.review for rule in equal if rule.review is not None), None),
        expires_in=min((rule.expires_in for rule in equal if rule.expires_in is not None), default=None),
        defer=any(rule.defer for rule in equal),
    )


def files(arguments: Mapping[str, Any], cwd: str) -> list[str]:
    """Return the absolute paths, without links, of the files that the call names."""
    named = [arguments[name] for name in PATH_FIELDS if isinstance(arguments.get(name), str)]
    return [real(name, cwd) for name in named]


def load(file: Path) -> Rules:
    """Read a rules file. Raises `BadRules`."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        _only(document, {"rule", "default"})
        default = document.get("default", "hold")
        if default not in ("hold", "refuse"):
            raise ValueError('default is "hold" or "refuse"; a rule for tool = "*" passes everything else')
        listed = document.get("rule", [])
        if not isinstance(listed, list):
            raise ValueError("write each rule below a line [[rule]]")
        rules = tuple(_rule(number, table) for number, table in enumerate(listed, 1))
        return Rules(rules, Rule(do=Do[default.upper()]))
    except OSError as error:
        raise BadRules(f"cannot read the rules {file}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRules(f"the rules {file} are not valid: {error}") from None


def _rule(number: int, table: Any) -> Rule:
    try:
        if not isinstance(table, dict):
            raise ValueError("it is not a table")
        _only(table, {"tool", "command", "path", "do", "compound", "reason", "review", "defer", "expires_in"})
        tools = table.get("tool")
        tools = [tools] if isinstance(tools, str) else tools
        if not (isinstance(tools, list) and tools and all(isinstance(tool, str) and tool for tool in tools)):
            raise ValueError('tool is a name such as "Bash", or a list of names')
        if table.get("do") not in ("pass", "hold", "refuse"):
            raise ValueError('do is "pass", "hold" or "refuse"')
        do = Do[table["do"].upper()]
        return Rule(
            tools=tuple(tools),
            command=_pattern(table, "command", do),
            path=_pattern(table, "path", do),
            do=do,
            compound=_of(table, "compound", bool, False),
            reason=_of(table, "reason", str, None),
            review=_of(table, "review", dict, None),
            defer=_of(table, "defer", bool, False),
            expires_in=_of(table, "expires_in", int, None),
        )
    except ValueError as error:
        raise ValueError(f"rule {number}: {error}") from None


def _only(table: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(table.keys() - known):
        raise ValueError(f"{unknown[0]!r} is no setting; there are {', '.join(sorted(known))}")


def _of(table: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = table.get(name, default)
    if value is not default and type(value) is not kind:
        kinds = {bool: "true or false", str: "a text", dict: "a table", int: "a whole number"}
        raise ValueError(f"{name} is {kinds[kind]}")
    return value


def _pattern(table: Mapping[str, Any], name: str, do: Do) -> re.Pattern[str] | None:
    text = _of(table, name, str, None)
    if text is None:
        return None
    try:
        return re.compile(text, 0 if do is Do.PASS else re.DOTALL)
    except re.error as error:
        raise ValueError(f"{name} is not a regular expression: {error}") from None
