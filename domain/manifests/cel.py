"""CEL expressions: policies, which must be true before a step continues, and `when`, which decides whether it runs.

An admin deploys them, and they are evaluated over what agents send. The evaluator blocks the whole process until it
ends, so the work of an expression is bounded before it begins.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

# The variables of the two kinds of expressions.
POLICY_NAMES = frozenset({"phase", "input", "arguments", "output", "saga", "step", "worker", "tool"})
WHEN_NAMES = frozenset({"input", "steps", "saga", "step"})
# Characters. The parser's recursion grows with the length, and has a limit of its own.
MAX_LENGTH = 4_000
# Compiled expressions in a process's cache, some kilobytes each.
CACHE_SIZE = 1_024
# Values visited. One takes some 30 ns, so an expression takes a few seconds at worst, and leases are renewed in time.
# One macro may iterate over some thousand values.
MAX_WORK = 100_000_000
# Characters of a text that are as much work as one value.
TEXT_UNIT = 100

_TYPES = frozenset(
    {"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "timestamp", "duration"}
)
_WORDS = frozenset({"true", "false", "null", "in"})
# The types that the checker knows when an expression is deployed. An input is an object with fields of any type.
_OBJECT = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_KNOWN = {
    **dict.fromkeys(("input", "steps", "arguments", "saga", "step", "worker"), _OBJECT),
    "phase": cel.Type.STRING,
}
_checker = cel.NewEnv(variables={name: _KNOWN.get(name, cel.Type.DYN) for name in sorted(POLICY_NAMES | WHEN_NAMES)})
_environment = cel.NewEnv(variables=dict.fromkeys(sorted(POLICY_NAMES | WHEN_NAMES), cel.Type.DYN))
# Operators that the checker wants with equal types, but that work with two: values of two types are unequal, 1 is 1.0,
# and 1 < 1.5.
_MIXED_TYPES = re.compile(
    r"for '(?:_==_|_!=_|@in|_\?_:_)' |for '_(?:<|<=|>|>=)_' applied to '\((?:u?int|double), (?:u?int|double)\)'"
)
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_FROM_TEXT = frozenset({"timestamp", "duration", "int", "uint", "double", "bool"})
_TEXT = re.compile(r"[rR]?['\"]")
_PLAIN_TEXT = re.compile(r"'[^'\\]*'|\"[^\"\\]*\"")
_TOO_MUCH = "the expression does too much work with this many values: nest fewer macros"
_OVERLOAD = re.compile(r"found no matching overload for '(.*?)' applied to '(.*)'")
_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_FUNCTIONS = (
    frozenset({"size", "contains", "startsWith", "endsWith", "matches", "has", "type", "dyn", "bool"})
    | frozenset({"int", "uint", "double", "string", "bytes", "timestamp", "duration"})
    | frozenset({"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"})
    | frozenset({"getHours", "getMinutes", "getSeconds", "getMilliseconds"})
    | _MACROS
)
_TOKEN = re.compile(
    r"""
    (?P<skipped> \s+ | //[^\n]* )
  | (?P<text> [bB]?[rR][bB]? (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
            | [bB]? (?: \"{3}(?:\\.|.)*?\"{3} | '{3}(?:\\.|.)*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ) )
  | (?P<number> [0-9][0-9a-zA-Z_.]* )
  | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)


class EvaluationFailed(Exception):
    """The expression gave no true or false. `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _TooDeep(ValueError):
    """The expression is nested too deeply for the parser."""


@dataclass(frozen=True, slots=True)
class _Expression:
    """
    Attributes:
        names: the variables that it reads.
        depth: the nesting of its macros.
        reads: the number of times that it reads a variable.
        growth: the factor by which its values may exceed its variables in size.
        tool_fields: it reads `tool.name`, as policies of other systems do, and not `tool`.
    """

    program: cel.Expression
    names: frozenset[str]
    depth: int
    reads: int
    growth: int
    tool_fields: bool


def compile_error(text: str, names: Collection[str] = POLICY_NAMES) -> str | None:
    """Return why this is not a readable expression over these names, or None."""
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters: shorten it"
    try:
        expression = _compiled(text)
    except _TooDeep:
        # An older release accepted it. Its steps fail, but the rest of its saga stays readable.
        return None
    except ValueError as error:
        return f"is not CEL: {error}"
    for name in sorted(expression.names - set(names)):
        return f"uses {name!r}, which is not one of {', '.join(sorted(names))}"
    return None


def certain_error(text: str) -> str | None:
    """Return why a readable expression would fail for any values, or None."""
    try:
        _compiled(text)
    except ValueError as error:
        return f"is not CEL: {error}"
    return next(_type_errors(text), None)


def _type_errors(text: str) -> Iterator[str]:
    try:
        checked = _checker.compile(text)
    except RuntimeError as error:
        for line, column, message in _ERROR.findall(str(error)):
            if not _MIXED_TYPES.search(message):
                yield f"can only fail: {_plain(message)} (line {line}, column {column})"
        return
    kind = checked.return_type()
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        yield f"can only fail: it gives a {kind.name().lower()}, not true or false"
    yield from _value_errors(text)


def _value_errors(text: str) -> Iterator[str]:
    """Try literal texts, and yield those that fail: a pattern, a timestamp, a time zone."""
    words = [token for _, token in _tokens(text)]
    for index, word in enumerate(words):
        literal, *after = words[index + 2 : index + 4] or [""]
        if words[index + 1 : index + 2] != ["("] or after != [")"] or not _TEXT.match(literal):
            continue
        if word in _FROM_TEXT:
            trial = f"{word}({literal})"
        elif word == "matches" and words[index - 1] == ".":
            trial = f"''.matches({literal})"
        elif word.startswith("get"):
            trial = f"timestamp(0).{word}({literal})"
        else:
            continue
        found = _environment.compile(trial, disable_check=True).eval(data={})
        if found.type() == cel.Type.ERROR:
            yield f"can only fail in {word}({literal}): {_reason(str(found.value()))}"
    if not _compiled(text).names:
        try:
            judge(text, {})
        except EvaluationFailed as failed:
            yield f"can only fail: {failed.reason}"


def _plain(message: str) -> str:
    if (found := _OVERLOAD.search(message)) is not None:
        return f"{found[1].strip('_')} does not take {found[2]}"
    called = re.match("undeclared reference to '(.*?)'", message)
    return f"{called[1]} cannot be called like that" if called and called[1] in _FUNCTIONS else message


def judge(text: str, variables: Mapping[str, Any]) -> bool:
    """Return whether the expression is true. Raises `EvaluationFailed` for an error or a result that is not a bool."""
    try:
        expression = _compiled(text)
        _check_work(expression, text, variables)
        data = {name: variables[name] for name in expression.names & variables.keys()}
        if expression.tool_fields and "tool" in data:
            data["tool"] = {"name": data["tool"]}
        answer = expression.program.eval(data=data)
    except EvaluationFailed:
        raise
    except Exception as error:
        raise EvaluationFailed(_reason(str(error))) from None
    value = answer.value()
    if isinstance(value, bool):
        return value
    kind = answer.type()
    if kind in (cel.Type.ERROR, cel.Type.UNKNOWN):
        raise EvaluationFailed(_reason(str(value)))
    raise EvaluationFailed(f"the result is a {kind.name().lower()}, not true or false")


def _check_work(expression: _Expression, text: str, variables: Mapping[str, Any]) -> None:
    if expression.depth == 0:
        return
    values = [value for name, value in variables.items() if name in expression.names]
    size = (_weight(values) + len(text) // TEXT_UNIT) * expression.growth
    if size ** (expression.depth + 1) * expression.reads > MAX_WORK:
        raise EvaluationFailed(_TOO_MUCH)


def _weight(value: object) -> int:
    weight, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        weight += 1
        if isinstance(item, str):
            weight += len(item) // TEXT_UNIT
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return weight


@lru_cache(CACHE_SIZE)
def _compiled(text: str) -> _Expression:
    """Compile the expression. Raises `ValueError` if it is not one, or calls an unsupported function."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"it is longer than {MAX_LENGTH} characters")
    try:
        # The checker refuses to compare 1 with 1.5, so it only runs when an expression is deployed.
        program = _environment.compile(text, disable_check=True)
    except RuntimeError as error:
        message = str(error)
        raise (_TooDeep if "recursion" in message else ValueError)(_reason(message)) from None
    return _measured(program, text)


def _measured(program: cel.Expression, text: str) -> _Expression:
    # For each open bracket: the name that its macro binds (or None), whether that is a map, and the reads before it.
    tokens = _tokens(text)
    open_: list[tuple[str | None, bool, int]] = []
    names: set[str] = set()
    depth, read_count, growth, joined = 0, 0, 1, 1
    tools: set[bool] = set()
    for index, (kind, word) in enumerate(tokens):
        before = tokens[index - 1][1] if index else ""
        after = [token for _, token in tokens[index + 1 : index + 2]]
        if word in ("(", "[", "{"):
            macro = before in _MACROS and tokens[index - 2][1] == "." if index > 1 else False
            open_.append((after[0] if macro and after else None, before == "map", read_count))
            depth = max(depth, sum(bound is not None for bound, _, _ in open_))
        elif word in (")", "]", "}") and open_:
            bound, is_map, began = open_.pop()
            if bound is not None and is_map:
                growth *= max(1, read_count - began - 1)
        elif word == "+":
            joined += 1
        elif kind == "name" and before != ".":
            read_count += 1
            if after == ["("]:
                _check_function(word)
            elif word not in _WORDS | _TYPES and word not in {bound for bound, _, _ in open_}:
                names.add(word)
                if word == "tool":
                    tools.add(after in (["."], ["["]))
        elif kind == "name" and after == ["("]:
            _check_function(word)
    if len(tools) > 1:
        raise ValueError("it uses tool both as a text and as tool.name: use one of them")
    return _Expression(program, frozenset(names), depth, max(1, read_count), growth * joined, tools == {True})


def _tokens(text: str) -> list[tuple[str | None, str]]:
    return [(found.lastgroup, found.group()) for found in _TOKEN.finditer(text) if found.lastgroup != "skipped"]


def reads(text: str, roots: Collection[str]) -> Iterator[tuple[str | int, ...]]:
    """Yield the places that the expression reads in these variables, like `steps.pay.output.data[0]`.

    A place is a tuple of names and indexes, up to the first one that is computed.
    """
    tokens = _tokens(text)
    words = [word for _, word in tokens]
    for index, (kind, word) in enumerate(tokens):
        if kind == "name" and word in roots and words[index - 1 : index] != ["."]:
            yield (word, *_keys(words[index + 1 :]))


def _keys(words: list[str]) -> Iterator[str | int]:
    while words:
        match words:
            case [".", name, *rest] if rest[:1] != ["("] and name.isidentifier():
                yield name
                words = rest
            case ["[", key, "]", *rest] if _PLAIN_TEXT.fullmatch(key) or key.isdecimal():
                yield int(key) if key.isdecimal() else key[1:-1]
                words = rest
            case _:
                return


def _check_function(name: str) -> None:
    if name not in _FUNCTIONS:
        raise ValueError(f"there is no function {name}()")


def _reason(text: str) -> str:
    """Return the evaluator's message without its internal prefixes."""
    if "Iteration budget exceeded" in text:
        return _TOO_MUCH
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    line = lines[0] if lines else "the evaluator failed on this expression"
    line = re.sub(
        r"^[A-Z_]+: |^ERROR: <input>:(4294967295:0: )?", "", re.sub(r"^[A-Z_]+: (?=ERROR)| \[[A-Z_]+\]$", "", line)
    )
    if (missing := re.fullmatch(r'Key not found in map : "(.*)"', line)) is not None:
        return f"there is no {missing[1]}: check has(…) first"[:300]
    return line[:300]
