"""CEL: the expressions that must be true before a step goes on, or that say whether it runs at all.

Deployed once, judged over what agents send. The evaluator runs to its end and holds the whole process meanwhile, so
how much an expression may have to do is bounded before it begins.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cel

# What the two kinds of expressions see.
POLICY_NAMES = frozenset({"phase", "input", "arguments", "output", "saga", "step", "worker", "tool"})
WHEN_NAMES = frozenset({"input", "steps", "saga", "step"})
# Characters. The parser goes as deep as an expression is long; at 50,000 its stack ends, and with it the process.
MAX_LENGTH = 4_000
# Compiled expressions that a process remembers: some kilobytes each.
REMEMBERED = 1_024
# Values looked at. One takes some 10 ns, so an expression takes a few seconds at the very worst, and leases are renewed
# in time; one macro may go over a list of some thousand values.
MAX_WORK = 200_000_000
# Characters of a text that are as much work as one value.
TEXT_UNIT = 100

_TYPES = frozenset(
    {"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "timestamp", "duration"}
)
_WORDS = frozenset({"true", "false", "null", "in"})
_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_FUNCTIONS = (
    frozenset({"size", "contains", "startsWith", "endsWith", "matches", "has", "type", "dyn"})
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


@dataclass(frozen=True, slots=True)
class _Expression:
    """
    Attributes:
        names: the variables that it reads.
        depth: of macros in each other.
        looks: how often it reads a variable.
        growth: how many times larger than its variables its values may become.
    """

    program: cel.Program
    names: frozenset[str]
    depth: int
    looks: int
    growth: int


def compile_fault(text: str, names: Collection[str] = POLICY_NAMES) -> str | None:
    """Why this cannot be used as an expression that sees these names, or None."""
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    try:
        expression = _compiled(text)
    except ValueError as error:
        return f"is not CEL: {error}"
    for name in sorted(expression.names - set(names)):
        return f"names {name!r}, which is not among {', '.join(sorted(names))}"
    return None


def judge(text: str, variables: Mapping[str, Any]) -> bool:
    """Whether the expression holds. Raises `EvaluationFailed` for an error, and for an answer that is not a bool."""
    try:
        expression = _compiled(text)
        _bound(expression, text, variables)
        answer = expression.program.execute(dict(variables))
    except EvaluationFailed:
        raise
    except Exception as error:
        raise EvaluationFailed(_reason(error)) from None
    except BaseException as error:
        # The evaluator's own faults come as a BaseException, which would end the thread.
        if type(error).__name__ != "PanicException":
            raise
        raise EvaluationFailed("the evaluator failed on this expression") from None
    if not isinstance(answer, bool):
        raise EvaluationFailed(f"the answer is a {type(answer).__name__}, not true or false")
    return answer


def _bound(expression: _Expression, text: str, variables: Mapping[str, Any]) -> None:
    if expression.depth == 0:
        return
    read = [value for name, value in variables.items() if name in expression.names]
    size = (_weight(read) + len(text) // TEXT_UNIT) * expression.growth
    if size ** (expression.depth + 1) * expression.looks > MAX_WORK:
        raise EvaluationFailed("there are too many values for what the expression does with each: nest fewer macros")


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
        program = cel.compile(text)
    except ValueError as error:
        raise ValueError(_reason(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("it cannot be parsed") from None
    return _measured(program, text)


def _measured(program: cel.Program, text: str) -> _Expression:
    # Inside each open bracket: the name that its macro binds (or None), and the reads that it began after.
    tokens = [(found.lastgroup, found.group()) for found in _TOKEN.finditer(text) if found.lastgroup != "skipped"]
    open_: list[tuple[str | None, bool, int]] = []
    names: set[str] = set()
    depth, looks, growth, joined = 0, 0, 1, 1
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
        elif kind == "name" and after == ["("]:
            _check_function(word)
    return _Expression(program, frozenset(names), depth, max(1, looks), growth * joined)


def _check_function(name: str) -> None:
    if name not in _FUNCTIONS:
        raise ValueError(f"there is no function {name}()")


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error}: ask has(…) first"
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
