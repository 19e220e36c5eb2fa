"""Prompts: Jinja templates of admins, filled with values that come from agents, tools and models.

A template may choose and repeat, not call: there are no methods, macros or inclusions, and after a dot stands a field
of the value, never an attribute of the object that holds it. Its work and its output are counted.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sized
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes, pass_context
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from domain import json_value

# Characters of a rendered prompt: what a step's values may have in all, and some hundred pages.
MAX_OUTPUT = 256 * 1024
# Values that loops and filters look at, and hundreds of characters of texts: about a second.
MAX_WORK = 1_000_000
TEXT_UNIT = 100
# Of tojson(indent=…): with the depth of a value it says how much longer that becomes.
MAX_INDENT = 8
# Compiled templates that a process remembers: some tens of kilobytes each.
REMEMBERED = 256
GUIDANCE = "guidance"
# No name of a template has a blank.
_SPENT = "work spent"
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "int", "items", "last"),
    *(
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "select",
        "selectattr",
        "sort",
    ),
    *("title", "trim", "truncate", "unique", "upper", "wordcount"),
)
_STATEMENTS = (nodes.Output, nodes.If, nodes.For, nodes.Assign, nodes.With)


class PromptFailed(ValueError):
    """The prompt could not be made of these values; the message says why."""


class _Work:
    """What one rendering did so far."""

    def __init__(self) -> None:
        self._units = 0

    def spend(self, units: int) -> None:
        self._units += units
        if self._units > MAX_WORK:
            raise PromptFailed("it has too much to do with these values: loop over less")


def render(template: str, values: Mapping[str, Any], guidance: str | None) -> str:
    """The prompt. Texts stand in it as they are, other values as JSON. Raises `PromptFailed`."""
    names = {**values, GUIDANCE: guidance or "", _SPENT: _Work()}
    parts: list[str] = []
    size = 0
    try:
        for part in _compiled(template).generate(names):
            size += len(part)
            if size > MAX_OUTPUT:
                raise PromptFailed(f"it becomes longer than {MAX_OUTPUT // 1024} Ki characters with these values")
            parts.append(part)
    except PromptFailed:
        raise
    except Exception as error:
        # Whatever a template can make of values that do not suit it: of the wrong type, missing, nested too deeply.
        raise PromptFailed(f"it does not suit these values: {_first_line(error)}") from None
    return "".join(parts)


def message(rendered: str, previous: Mapping[str, Any] | None, guidance: str | None) -> str:
    """What the model is sent: on a re-run with its previous answer and what the reviewer said, as the last word."""
    parts = [rendered]
    if previous is not None:
        parts.append(f"# Your previous answer, which was not accepted\n\n{json_value.encode(previous)}")
    if guidance:
        parts.append(f"# What the reviewer says: answer anew, and follow this\n\n{guidance}")
    return "\n\n".join(parts)


def prompt_fault(text: str, given: Collection[str]) -> str | None:
    """Why this template cannot be used with these names, or None."""
    try:
        parsed = _environment.parse(text)
        if (refused := _refused(parsed)) is not None:
            return refused
        _compiled(text)
        missing = meta.find_undeclared_variables(parsed) - set(given) - {GUIDANCE}
    except (TemplateError, RecursionError, ValueError) as error:
        return f"is not a Jinja template: {_first_line(error)}"
    if missing:
        names = ", ".join(f"{{{{ {name} }}}}" for name in sorted(missing))
        return f"uses {names[:500]}, which `with` does not give"
    return None


def _refused(parsed: nodes.Template) -> str | None:
    if any(meta.find_referenced_templates(parsed)):
        return "includes another template: write it out"
    for statement in parsed.find_all(nodes.Stmt):
        if not isinstance(statement, _STATEMENTS) or getattr(statement, "recursive", False):
            return f"has a {type(statement).__name__}: prompts have only if, for (not recursive), set x = … and with"
    if any(not _may_call(call.node) for call in parsed.find_all(nodes.Call)):
        return "calls something: prompts call only range(…) and loop.cycle(…), and use filters for the rest"
    if any(parsed.find_all(nodes.Pow)):
        return "has a **: compute it in a step"
    return None


def _may_call(called: nodes.Expr) -> bool:
    if isinstance(called, nodes.Getattr):
        return isinstance(called.node, nodes.Name) and (called.node.name, called.attr) == ("loop", "cycle")
    return isinstance(called, nodes.Name) and called.name == "range"


class _Counting(NodeTransformer):
    """Has whatever is looped over or filtered counted, and joins by ~ what an output would show."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_counted")
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:
        self.generic_visit(node)
        if node.node is not None:
            node.node = _filtered(node.node, "_counted")
        return node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Operand:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_shown, keep_trailing_newline=False)
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters |= {"_counted": _counted, "join": _join, "replace": _replace, "round": round}
        self.filters |= {"string": _text, "tojson": _to_json}
        self.globals = {"range": range}

    def compile_counting(self, text: str) -> Template:
        parsed = _Counting().visit(self.parse(text))
        return Template.from_code(self, self.compile(parsed), self.make_globals(None))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`order.items` is the field, not the method."""
        return super().getattr(obj, attribute) if isinstance(obj, LoopContext) else self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            return obj[argument]
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            _work(context).spend(_units(left) + _units(right))
        elif not isinstance(left, int | float) or not isinstance(right, int | float):
            raise PromptFailed(f"it uses {operator} on what is no number")
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, int) and abs(found) > json_value.MAX_INTEGER:
            raise PromptFailed("it computes a number beyond 2^53")
        return found


def _work(context: Context) -> _Work:
    work: _Work = context[_SPENT]
    return work


def _units(value: Any) -> int:
    if isinstance(value, str):
        return 1 + len(value) // TEXT_UNIT
    return 1 + len(value) if isinstance(value, Sized) else 1


@pass_context
def _counted(context: Context, value: Any) -> Any:
    # What a filter gives bit by bit was counted when it went into the filter.
    if not isinstance(value, Undefined):
        _work(context).spend(_units(value))
    return value


def _text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Undefined):
        # Says which name is missing.
        return str(value)
    if isinstance(value, Iterator):
        raise PromptFailed("it shows what a filter goes through: put | list or | join behind it")
    return json_value.encode(value)


@pass_context
def _shown(context: Context, value: Any) -> str:
    text = _text(value)
    _work(context).spend(_units(text))
    return text


@pass_context
def _join(context: Context, values: Any, between: str = "", attribute: str | None = None) -> str:
    found = [value if attribute is None else context.environment.getitem(value, attribute) for value in values]
    texts = [_text(value) for value in found]
    _fit(context, sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


@pass_context
def _replace(context: Context, text: str, old: str, new: str) -> str:
    _fit(context, len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _to_json(value: Any, indent: int | None = None) -> str:
    if indent is None:
        return json_value.encode(value)
    if not 0 <= indent <= MAX_INDENT:
        raise PromptFailed(f"its tojson has an indent that is not 0 to {MAX_INDENT}")
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _fit(context: Context, size: int) -> None:
    """Before a text is made that may be far longer than what it is made of."""
    if size > MAX_OUTPUT:
        raise PromptFailed(f"it makes a text longer than {MAX_OUTPUT // 1024} Ki characters of these values")
    _work(context).spend(1 + size // TEXT_UNIT)


@lru_cache(REMEMBERED)
def _compiled(template: str) -> Template:
    return _environment.compile_counting(template)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


_environment = _Environment()
