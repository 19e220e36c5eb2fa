"""The page of the Python SDK, from its signatures and docstrings."""

from collections.abc import Iterator
from pathlib import Path

import griffe

_SOURCE = Path(__file__).parents[1] / "sdk" / "python" / "src"
# The names of the package itself come first; each other module is imported by its own name.
_MODULES = ("", "testing", "adapters", "adapters.langgraph", "adapters.openai_agents", "adapters.pydantic_ai")


def pages() -> dict[str, str]:
    """Return the Markdown of the page by its name."""
    package = griffe.load("sagahold", search_paths=[_SOURCE], docstring_parser="google")
    lines = [
        "# Python SDK: reference",
        "",
        "[Python SDK](../sdk-python.md) explains how to use it. Each name is imported from the module in its heading.",
        "",
    ]
    for path in _MODULES:
        lines += _module(_final(package[path] if path else package))
    return {"python.md": "\n".join(lines)}


def _final(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


def _public(module: griffe.Object) -> list[str]:
    if module.exports:
        return [str(name) for name in module.exports]
    return [
        name
        for name, member in module.members.items()
        if not name.startswith("_") and not member.is_alias and (member.is_class or member.is_function)
    ]


def _module(module: griffe.Object) -> Iterator[str]:
    yield from (f"## `{module.path}`", "")
    yield from _docstring(module)
    for each in sorted(_public(module), key=str.lower):
        found = _final(module[each])
        if isinstance(found, griffe.Class):
            yield from _class(found, module.path)
        elif isinstance(found, griffe.Function):
            yield from (f"### `{module.path}.{each}`", "")
            yield from _function(found)


def _class(kind: griffe.Class, module: str) -> Iterator[str]:
    yield from (f"### `{module}.{kind.name}`", "")
    bases = [str(base) for base in kind.bases if not str(base).startswith("_")]
    if bases:
        yield from (f"Bases: {', '.join(f'`{base}`' for base in bases)}", "")
    yield from _docstring(kind)
    start = kind.all_members.get("__init__")
    if isinstance(start, griffe.Function) and len(start.parameters) > 1:
        yield from _function(start, kind.name)
    facts = [each for each in kind.attributes.values() if not each.name.startswith("_") and each.annotation]
    if facts:
        yield from ("| attribute | type |", "| --- | --- |")
        yield from (f"| `{each.name}` | `{_escaped(each.annotation)}` |" for each in facts)
        yield ""
    for name, member in kind.all_members.items():
        found = _final(member)
        if isinstance(found, griffe.Function) and not name.startswith("_"):
            yield from (f"#### `{kind.name}.{name}`", "")
            yield from _function(found)


def _function(function: griffe.Function, name: str | None = None) -> Iterator[str]:
    words = "async def " if "async" in function.labels else ""
    yield from ("```python", words + _signature(function, name), "```", "")
    yield from _docstring(function)


def _signature(function: griffe.Function, name: str | None) -> str:
    """Return the signature, one parameter a line if it is long."""
    line = function.signature(name=name, return_type=name is None)
    if len(line) <= 100:
        return line
    inner, _, returns = line.partition("(")[2].rpartition(")")
    parts, depth = [""], 0
    for letter in inner:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return "\n".join([f"{name or function.name}(", *(f"    {part.strip()}," for part in parts), f"){returns}"])


def _docstring(described: griffe.Object) -> Iterator[str]:
    for section in described.docstring.parsed if described.docstring else ():
        match section:
            case griffe.DocstringSectionText():
                yield from (section.value, "")
            case griffe.DocstringSectionParameters() | griffe.DocstringSectionAttributes():
                yield from (f"- `{item.name}`: {' '.join(item.description.split())}" for item in section.value)
                yield ""
            case griffe.DocstringSectionRaises():
                yield from (
                    f"- raises `{item.annotation}`: {' '.join(item.description.split())}" for item in section.value
                )
                yield ""
            case _:
                raise ValueError(f"{described.path}: the page cannot show the section {section.kind} of its docstring")


def _escaped(annotation: object) -> str:
    return str(annotation).replace("|", "\\|")
