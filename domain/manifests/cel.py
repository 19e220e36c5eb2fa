"""CEL: the expressions that must be true before a step goes on, or that say whether it runs at all.

Deployed once, judged over what agents send. The evaluator runs to its end and holds the whole process meanwhile, so
how much an expression may have to do is bounded before it begins.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

# What the two kinds of expressions see.
POLICY_NAMES = frozenset({"phase", "input", "arguments", "output", "saga", "step", "worker", "tool"})
WHEN_NAMES = frozenset({"input", "steps", "saga", "step"})
# Characters. The parser goes as deep as an expression is long, and has a limit of its own.
MAX_LENGTH = 4_000
# Compiled expressions that a process remembers: some kilobytes each.
REMEMBERED = 1_024
# Values looked at. One takes some 30 ns, so an expression takes a few seconds at the very worst, and leases are
# renewed in time; one macro may go over a list of some thousand values.
MAX_WORK = 100_000_000
# Characters of a text that are as much work as one value.
TEXT_UNIT = 100

_TYPES = frozenset(
    {"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "timestamp", "duration"}
)
_WORDS = frozenset({"true", "false", "null", "in"})
# What the evaluator is told of types when an expression is deployed. An input is an object, its fields may be anything.
_OBJECT = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_KNOWN = {
    **dict.fromkeys(("input", "steps", "arguments", "saga", "step", "worker"), _OBJECT),
    "phase": cel.Type.STRING,
}
_checker = cel.NewEnv(variables={name: _KNOWN.get(name, cel.Type.DYN) for name in sorted(POLICY_NAMES | WHEN_NAMES)})
_environment = cel.NewEnv(variables=dict.fromkeys(sorted(POLICY_NAMES | WHEN_NAMES), cel.Type.DYN))
# Operators whose sides may be of two types when it comes to it, though the checker wants them alike: values of two
# types are unequal, 1 is 1.0, and 1 < 1.5.
_ALIKE = re.compile(
    r"for '(?:_==_|_!=_|@in|_\?_:_)' |for '_(?:<|<=|>|>=)_' applied to '\((?:u?int|double), (?:u?int|double)\)'"
)
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_FROM_TEXT = frozenset({"timestamp", "duration", "int", "uint", "double", "bool"})
_TEXT = re.compile(r"[rR]?['\"]")
_PLAIN_TEXT = re.compile(r"'[^'\\]*'|\"[^\"\\]*\"")
_TOO_MUCH = "there are too many values for what the expression does with each: nest fewer macros"
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
    """The expression gave no answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _TooDeep(ValueError):
    """The parser nests no deeper."""


@dataclass(frozen=True, slots=True)
class _Expression:
    """
    Attributes:
        names: the variables that it reads.
        depth: of macros in each other.
        looks: how often it reads a variable.
        growth: how many times larger than its variables its values may become.
        tool_fields: it reads `tool.name`, as policies of other systems do, and not `tool`.
    """

    program: cel.Expression
    names: frozenset[str]
    depth: int
    looks: int
    growth: int
    tool_fields: bool


def compile_error(text: str, names: Collection[str] = POLICY_NAMES) -> str | None:
    """Why this cannot be read as an expression that sees these names, or None."""
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    try:
        expression = _compiled(text)
    except _TooDeep:
        # One that was deployed when that was allowed: its steps fail, and the rest of its saga can be read.
        return None
    except ValueError as error:
        return f"is not CEL: {error}"
    for name in sorted(expression.names - set(names)):
        return f"names {name!r}, which is not among {', '.join(sorted(names))}"
    return None


def certain_error(text: str) -> str | None:
    """Why an expression that can be read would fail whatever the values are, or None."""
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
            if not _ALIKE.search(message):
                yield f"can only fail: {_plain(message)} (line {line}, column {column})"
        return
    kind = checked.return_type()
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        yield f"can only fail: it gives a {kind.name().lower()}, not true or false"
    yield from _value_errors(text)


def _value_errors(text: str) -> Iterator[str]:
    """What a text that is written out makes fail: a pattern, an instant, a time zone. By trying it."""
    words = [token for _, token in _tokens(text)]
    for index, word in enumerate(words):
        literal, *after = words[index + 2 : index + 4] or [""]
        if words[index + 1 : index + 2] != ["("] or after != [")"] or not _TEXT.match(literal):
            continue
        if word in _FROM_TEXT:
            tried = f"{word}({literal})"
        elif word == "matches" and words[index - 1] == ".":
            tried = f"''.matches({literal})"
        elif word.startswith("get"):
            tried = f"timestamp(0).{word}({literal})"
        else:
            continue
        found = _environment.compile(tried, disable_check=True).eval(data={})
        if found.type() == cel.Type.ERROR:
            yield f"can only fail: {word}({literal}): {_reason(str(found.value()))}"
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
    """Whether the expression holds. Raises `EvaluationFailed` for an error, and for an answer that is not a bool."""
    try:
        expression = _compiled(text)
        _bound(expression, text, variables)
        given = {name: variables[name] for name in expression.names & variables.keys()}
        if expression.tool_fields and "tool" in given:
            given["tool"] = {"name": given["tool"]}
        answer = expression.program.eval(data=given)
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
    raise EvaluationFailed(f"the answer is a {kind.name().lower()}, not true or false")


def _bound(expression: _Expression, text: str, variables: Mapping[str, Any]) -> None:
    if expression.depth == 0:
        return
    read = [value for name, value in variables.items() if name in expression.names]
    size = (_weight(read) + len(text) // TEXT_UNIT) * expression.growth
    if size ** (expression.depth + 1) * expression.looks > MAX_WORK:
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


@lru_cache(REMEMBERED)
def _compiled(text: str) -> _Expression:
    """Raises `ValueError` for what is no expression, or calls what we do not promise."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"it is longer than {MAX_LENGTH} characters")
    try:
        # Without its checker, which refuses to compare 1 with 1.5: that is asked when an expression is deployed.
        program = _environment.compile(text, disable_check=True)
    except RuntimeError as error:
        said = str(error)
        raise (_TooDeep if "recursion" in said else ValueError)(_reason(said)) from None
    return _measured(program, text)


def _measured(program: cel.Expression, text: str) -> _Expression:
    # Inside each open bracket: the name that its macro binds (or None), and the reads that it began after.
    tokens = _tokens(text)
    open_: list[tuple[str | None, bool, int]] = []
    names: set[str] = set()
    depth, looks, growth, joined = 0, 0, 1, 1
    tools: set[bool] = set()
    for index, (kind, word) in enumerate(tokens):
        before = tokens[index - 1][1] if index else ""
        after = [token for _, token in tokens[index + 1 : index + 2]]
        if word in ("(", "[", "{"):
            macro = before in _MACROS and tokens[index - 2][1] == "." if index > 1 else False
            open_.append((after[0] if macro and after else None, before == "map", looks))
            depth = max(depth, sum(bound is not None for bound, _, _ in open_))
        elif word in (")", "]", "}") and open_:
            bound, is_map, began = open_.pop()
            if bound is not None and is_map:
                growth *= max(1, looks - began - 1)
        elif word == "+":
            joined += 1
        elif kind == "name" and before != ".":
            looks += 1
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
    return _Expression(program, frozenset(names), depth, max(1, looks), growth * joined, tools == {True})


def _tokens(text: str) -> list[tuple[str | None, str]]:
    return [(found.lastgroup, found.group()) for found in _TOKEN.finditer(text) if found.lastgroup != "skipped"]


def reads(text: str, roots: Collection[str]) -> Iterator[tuple[str | int, ...]]:
    """The places that the expression reads of these variables, each as names and indexes, as far as they are written
    out: `steps.pay.output.data[0]`."""
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
    """The evaluator's words without what only its authors need."""
    if "Iteration budget exceeded" in text:
        return _TOO_MUCH
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    line = lines[0] if lines else "the evaluator failed on this expression"
    line = re.sub(
        r"^[A-Z_]+: |^ERROR: <input>:(4294967295:0: )?", "", re.sub(r"^[A-Z_]+: (?=ERROR)| \[[A-Z_]+\]$", "", line)
    )
    if (missing := re.fullmatch(r'Key not found in map : "(.*)"', line)) is not None:
        return f"there is no {missing[1]}: ask has(…) first"[:300]
    return line[:300]
