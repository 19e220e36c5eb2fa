"""Prompts: Jinja templates of admins, filled with values that come from agents, tools and models.

A template may branch and loop, but not call: it has no methods, macros or inclusions. A dot reads a field of the value,
never an attribute of the Python object. Its work and its output are limited.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sized
from functools import lru_cache, wraps
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes, pass_context
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import _PassArg
from jinja2.visitor import NodeTransformer

from domain.manifests.prompt_limits import MAX_OUTPUT, TEXT_UNIT, PromptFailed, RenderingBudget, units
from domain.values import canonical_json

# One call of a filter takes as long as a visit to this many values.
CALL_UNITS = 4
# The limit of round(…), because Python computes a number with as many digits as the precision.
MAX_PRECISION = 20
# The limit of tojson(indent=…), because the text grows with the indent times the depth of the value.
MAX_INDENT = 8
# Compiled templates in a process's cache, some tens of kilobytes each.
CACHE_SIZE = 256
GUIDANCE = "guidance"
# The blank keeps it apart from every name in a template.
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
# Filters that compare whole values; filters that turn a text into one of equal length; filters that visit every item.
_COMPARING = frozenset({"dictsort", "groupby", "max", "min", "sort", "unique"})
_TEXTUAL = frozenset(
    {"capitalize", "float", "int", "lower", "reverse", "title", "trim", "truncate", "upper", "wordcount"}
)
_GOING_THROUGH = _COMPARING | {"list", "map", "reject", "rejectattr", "select", "selectattr"}
_STATEMENTS = (nodes.Output, nodes.If, nodes.For, nodes.Assign, nodes.With)


def render(template: str, values: Mapping[str, Any], guidance: str | None) -> str:
    """Render the prompt. Texts appear in it as they are, other values as JSON. Raises `PromptFailed`."""
    names = {**values, GUIDANCE: guidance or "", _SPENT: RenderingBudget()}
    parts: list[str] = []
    size = 0
    try:
        for part in _compiled(template).generate(names):
            size += len(part)
            if size > MAX_OUTPUT:
                raise PromptFailed(f"it is longer than {MAX_OUTPUT // 1024} Ki characters: use shorter values")
            parts.append(part)
    except PromptFailed:
        raise
    except Exception as error:
        # A template may raise anything for values of the wrong type, missing ones or ones that are nested too deeply.
        raise PromptFailed(f"it does not work with these values: {_first_line(error)}") from None
    return "".join(parts)


def message(rendered: str, previous: Mapping[str, Any] | None, guidance: str | None) -> str:
    """Return the message to the model. On a rerun, its previous answer and the guidance follow the prompt."""
    parts = [rendered]
    if previous is not None:
        parts.append(f"# Your previous answer, which was not accepted\n\n{canonical_json.encode(previous)}")
    if guidance:
        parts.append(f"# The reviewer's guidance: answer again and follow it\n\n{guidance}")
    return "\n\n".join(parts)


def prompt_error(text: str, available: Collection[str]) -> str | None:
    """Return why this template is unusable with these names, or None."""
    try:
        parsed = _environment.parse(text)
        if (refused := _refused(parsed)) is not None:
            return refused
        _compiled(text)
        missing = meta.find_undeclared_variables(parsed) - set(available) - {GUIDANCE}
    except (TemplateError, RecursionError, ValueError) as error:
        return f"is not a Jinja template: {_first_line(error)}"
    if missing:
        names = ", ".join(f"{{{{ {name} }}}}" for name in sorted(missing))
        return f"uses {names[:500]}, which is not in `with`: add it there"
    return None


def _refused(parsed: nodes.Template) -> str | None:
    if any(meta.find_referenced_templates(parsed)):
        return "includes another template: copy its text here"
    for statement in parsed.find_all(nodes.Stmt):
        if not isinstance(statement, _STATEMENTS) or getattr(statement, "recursive", False):
            return f"has a {type(statement).__name__}: use only if, for (not recursive), set x = … and with"
    if any(not _may_call(call.node) for call in parsed.find_all(nodes.Call)):
        return "calls a function or method: call only range(…) and loop.cycle(…), and use filters for the rest"
    if any(parsed.find_all(nodes.Pow)):
        return "has a **: compute it in a step"
    return None


def _may_call(called: nodes.Expr) -> bool:
    if isinstance(called, nodes.Getattr):
        return isinstance(called.node, nodes.Name) and (called.node.name, called.attr) == ("loop", "cycle")
    return isinstance(called, nodes.Name) and called.name == "range"


class _Counting(NodeTransformer):
    """A rewrite that counts each value in a loop, comparison or slice, and that joins with ~ as an output does."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_counted")
        return node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Operand:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_compared")
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Test:
        self.generic_visit(node)
        node.args = [_filtered(argument, "_compared") for argument in node.args]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filtered(node.node, "_copied")
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
        self.filters = {name: _counting(name, self.filters[name]) for name in _FILTERS}
        self.filters |= {"_counted": _counted, "_compared": _compared, "_copied": _copied}
        self.filters |= {"join": _join, "replace": _replace, "round": _round, "string": _text, "tojson": _to_json}
        self.globals = {"range": range}

    def compile_counting(self, text: str) -> Template:
        parsed = _Counting().visit(self.parse(text))
        return Template.from_code(self, self.compile(parsed), self.make_globals(None))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read a field: `order.items` is the field of the value, not the method."""
        return super().getattr(obj, attribute) if isinstance(obj, LoopContext) else self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            return obj[argument]
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str) and isinstance(right, str) and operator == "+":
            _work(context).spend(1 + (len(left) + len(right)) // TEXT_UNIT)
            _work(context).hold(len(left) + len(right))
        elif operator == "+":
            _work(context).spend(units(left) + units(right))
        elif not isinstance(left, int | float) or not isinstance(right, int | float):
            raise PromptFailed(f"it uses {operator} on a value that is not a number")
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, int) and abs(found) > canonical_json.MAX_INTEGER:
            raise PromptFailed("it computes an integer beyond ±(2^53-1)")
        return found


def _work(context: Context) -> RenderingBudget:
    work: RenderingBudget = context[_SPENT]
    return work


def _counting(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter to count its input first, also when `map` and similar filters call it."""
    passes = _PassArg.from_obj(filter_)

    @pass_context
    @wraps(filter_)
    def counted(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        work = _work(context)
        work.spend(CALL_UNITS)
        # The items of an iterator were counted as the input of the filter that yields them.
        if not isinstance(value, Undefined):
            count = work.go_through if name in _COMPARING else work.copy if name in _TEXTUAL else work.look
            count(value)
            if name in _GOING_THROUGH and isinstance(value, str):
                # Each character becomes an object as large as a text.
                work.make(len(value))
                work.spend(len(value))
            elif name in _COMPARING:
                work.spend(CALL_UNITS * units(value))
        for argument in (*args, *named.values()):
            work.go_through(argument)
        return filter_(*_leading_arguments(passes, context), value, *args, **named)

    return counted


def _leading_arguments(passes: _PassArg | None, context: Context) -> tuple[Any, ...]:
    """Return the arguments of a filter before its value."""
    if passes is None:
        return ()
    return ({_PassArg.context: context, _PassArg.environment: context.environment}.get(passes, context.eval_ctx),)


@pass_context
def _counted(context: Context, value: Any) -> Any:
    if not isinstance(value, Undefined):
        _work(context).look(value)
    return value


@pass_context
def _compared(context: Context, value: Any) -> Any:
    if not isinstance(value, Undefined):
        _work(context).go_through(value)
    return value


@pass_context
def _copied(context: Context, value: Any) -> Any:
    if not isinstance(value, Undefined):
        _work(context).copy(value)
    return value


@pass_context
def _text(context: Context, value: Any) -> str:
    """Return a text as it is, anything else as JSON."""
    if isinstance(value, str):
        _work(context).look(value)
        return value
    if isinstance(value, Undefined):
        # Raises an error that names the missing variable.
        return str(value)
    if isinstance(value, Iterator):
        raise PromptFailed("it outputs the iterator of a filter: add | list or | join after it")
    if isinstance(value, list | tuple | dict):
        _work(context).write(value)
    else:
        _work(context).spend(1)
    return canonical_json.encode(value)


_shown = _text


@pass_context
def _join(context: Context, values: Any, between: str = "", attribute: str | None = None) -> str:
    _work(context).spend(len(values) if isinstance(values, Sized) else 1)
    found = [value if attribute is None else context.environment.getitem(value, attribute) for value in values]
    texts = [_text(context, value) for value in found]
    _work(context).make(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


@pass_context
def _replace(context: Context, text: str, old: str, new: str) -> str:
    _work(context).look(text)
    _work(context).make(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


@pass_context
def _to_json(context: Context, value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= MAX_INDENT:
        raise PromptFailed(f"the indent of its tojson must be 0 to {MAX_INDENT}")
    _work(context).write(value, indent or 0)
    return canonical_json.encode(value) if indent is None else json.dumps(value, ensure_ascii=False, indent=indent)


def _round(number: Any, precision: int | None = None) -> Any:
    if precision is not None and abs(precision) > MAX_PRECISION:
        raise PromptFailed(f"the precision of its round must be -{MAX_PRECISION} to {MAX_PRECISION}")
    return round(number, precision)


@lru_cache(CACHE_SIZE)
def _compiled(template: str) -> Template:
    return _environment.compile_counting(template)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


_environment = _Environment()
