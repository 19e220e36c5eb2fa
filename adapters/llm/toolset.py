"""The tools that a model may use. It sees only those that its step allows, and no other is called."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import RunContext, ToolDefinition
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from adapters.llm.progress import Progress, RunEnded, clean, failed
from adapters.llm.tool_names import shown_names
from adapters.mcp import CallError, ToolClient, ToolInfo
from adapters.mcp.outcome import TOOL_INVOKE_FAILED, TOOL_NOT_FOUND, tool_not_found
from domain.manifests import resources
from domain.manifests.definition import ToolSource
from domain.manifests.reasoning_parser import READ_RESOURCE, SUBMIT
from domain.sagas.outcome import LEASE_LOST, Done, Failed, Lost, NotSent, Outcome, TimedOut, of_repeat
from domain.sagas.reasoning import ModelInput
from domain.sagas.step import Error
from domain.values import canonical_json

# Calls and reads of one model request. A model that wants more goes in circles.
MAX_CALLS = 100
# Mistakes that the library tolerates. It is never reached, as turns and calls have their own limits.
MAX_MISTAKES = 1_000_000
# Bytes of one answer to the model. Many of these must still fit a model's context.
_MAX_ANSWER_BYTES = 64 * 1024
_AGAIN = "it was asked before, with an unknown outcome"
# By these a source says that it does not have the resource.
_HAS_NOT = frozenset((TOOL_NOT_FOUND, TOOL_INVOKE_FAILED))
_NOT_OURS = "the worker stood still, or had no database, for so long that another may have taken the step over"
# The server checks the arguments, and reports errors in them.
_ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))
_RESOURCE_SCHEMA = {"type": "object", "properties": {"uri": {"type": "string"}}, "required": ["uri"]}


@dataclass(frozen=True, slots=True)
class Tool:
    source: ToolSource
    info: ToolInfo

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.info.read_only is not True

    @property
    def repeatable(self) -> bool:
        return not self.changes or bool(self.info.idempotent)


async def find(client: ToolClient, question: ModelInput, progress: Progress) -> dict[str, Tool]:
    """Find each allowed tool in the first source that has it.

    Raises `RunEnded`, also when a source before that one is away: a tool of the same name elsewhere is another tool.
    """
    wanted = question.reasoning.tools
    for name in (SUBMIT, *((READ_RESOURCE,) if question.resources else ())):
        if name in wanted:
            raise failed("TOOL_NOT_FOUND", f"{name!r} is a name of the engine's own: no tool of that name can be used")
    found: dict[str, Tool] = {}
    try:
        for source in question.worker.tool_sources:
            if len(found) == len(wanted):
                break
            for info in await client.tools(source):
                if info.name in wanted:
                    found.setdefault(info.name, Tool(source, info))
        missing = [name for name in wanted if name not in found]
        if missing:
            raise tool_not_found(client.missing(question.worker.tool_sources, missing[0]))
    except CallError as error:
        raise RunEnded(of_repeat(error.outcome, f"{_AGAIN}, and it") if question.again else error.outcome) from None
    progress.harmless = not any(tool.changes for tool in found.values())
    if question.again:
        progress.acted = not progress.harmless
        if not all(tool.repeatable for tool in found.values()):
            raise RunEnded(Lost(f"{_AGAIN}: not all of its tools are idempotent", idempotent=False))
    return found


class AllowedTools(AbstractToolset[None]):
    """The tools of one model request.

    Attributes:
        names: the tools' own names, by those that the model sees and uses.
    """

    def __init__(self, client: ToolClient, question: ModelInput, tools: Mapping[str, Tool], progress: Progress) -> None:
        self._client = client
        self._question = question
        self._tools = tools
        self.names = shown_names(tools)
        self._progress = progress
        self._calls = 0

    @property
    def id(self) -> str:
        return "allowed"

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        shown = {name: _named(name, self._tools[own].info) for name, own in self.names.items()}
        if self._question.resources:
            about = f"Read a resource. Allowed: {', '.join(self._question.resources)}"
            shown[READ_RESOURCE] = _shown(READ_RESOURCE, _RESOURCE_SCHEMA, about)
        return {
            name: ToolsetTool(toolset=self, tool_def=tool, max_retries=MAX_MISTAKES, args_validator=_ANY_OBJECT)
            for name, tool in shown.items()
        }

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> str:
        """Return the answer to the model. Raises `ToolFailed` if the model can adapt to the error, else `RunEnded`."""
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise ToolFailed(f"not called: {MAX_CALLS} calls have been made, and no more are possible. Submit now.")
        if name == READ_RESOURCE and self._question.resources:
            return await self._read(tool_args.get("uri"))
        own = self.names.get(name)
        if own is None:
            raise self._progress.forbid(name, tool_args)
        field_error = next(canonical_json.field_errors(tool_args, "arguments"), None)
        if field_error is not None:
            with self._progress.using(own, tool_args) as use:
                use.outcome = "failed"
            raise ToolFailed(f"not called: {field_error.path} {field_error.message}")
        data = await self._call(self._tools[own], tool_args)
        self._progress.answers[own] = data
        return _answer(data)

    async def _call(self, tool: Tool, arguments: Mapping[str, Any]) -> Any:
        progress, acted = self._progress, self._progress.acted
        progress.acted = acted or tool.changes
        with progress.using(tool.info.name, arguments) as use:
            meta = dict(self._question.meta) | ({} if use.traceparent is None else {"traceparent": use.traceparent})
            outcome = await self._client.acall(
                tool.source,
                tool.info.name,
                arguments,
                meta=meta,
                idempotency_key=f"{self._question.key}-{self._calls}",
                ours=self._question.ours if tool.changes else None,
                progress=self._question.heard,
            )
            match outcome:
                case Done(data):
                    use.outcome = "ok"
                    return data
                case NotSent(Error(code=code)) if code == LEASE_LOST:
                    use.outcome, progress.acted = "unavailable", acted
                    raise RunEnded(
                        Lost(_NOT_OURS, idempotent=False) if acted else NotSent(Error("MCP_UNAVAILABLE", _NOT_OURS))
                    )
                case NotSent(error) | Failed(error, answered=False):
                    use.outcome, progress.acted = "unavailable", acted
                    raise ToolFailed(f"not called: {error.message}")
                case Failed(error):
                    use.outcome, progress.acted = "failed", progress.acted if outcome.acted else acted
                    raise ToolFailed(error.message)
                case Lost(text):
                    if not tool.repeatable:
                        raise RunEnded(replace(outcome, idempotent=False))
                    raise ToolFailed(f"{text}. Whether it was done is not known; it may be called again.")
            raise AssertionError("a call on the loop has no deadline of its own")

    async def _read(self, uri: Any) -> str:
        if not isinstance(uri, str) or not resources.allows(self._question.resources, uri):
            raise self._forbidden(uri)
        with self._progress.using(READ_RESOURCE, {"uri": uri}) as use:
            match await self._first_that_has(uri):
                case Done(text):
                    use.outcome = "ok"
                    return _cut(text)
                case Lost(text):
                    raise ToolFailed(f"{text}. It may be read again.")
                case Failed(error, answered=True):
                    use.outcome = "failed"
                    raise ToolFailed(error.message)
                case Failed(error) | NotSent(error) | TimedOut(error):
                    use.outcome = "unavailable"
                    raise ToolFailed(error.message)

    def _forbidden(self, uri: Any) -> RunEnded:
        self._progress.forbid(READ_RESOURCE, {"uri": uri})
        shown = clean(str(uri)[:200])
        return failed("TOOL_NOT_ALLOWED", f"the model asked for the resource {shown!r}, which the step does not allow")

    async def _first_that_has(self, uri: str) -> Outcome:
        """Read the resource in the first source that has it. As with tools, a source that is away ends the search."""
        outcome: Outcome = tool_not_found("the worker has no tool source to read from").outcome
        for source in self._question.worker.tool_sources:
            outcome = await self._client.read_resource(source, uri)
            if not (isinstance(outcome, Failed) and outcome.error.code in _HAS_NOT):
                break
        return outcome


def _named(name: str, info: ToolInfo) -> ToolDefinition:
    """Describe the tool, with its own name, as prompts use that."""
    about = info.description if name == info.name else f"{info.name}: {info.description}"
    return _shown(name, dict(info.input_schema), about)


def _shown(name: str, schema: dict[str, Any], description: str) -> ToolDefinition:
    return ToolDefinition(name=name, parameters_json_schema=schema, description=description, sequential=True)


def _answer(data: Any) -> str:
    match data:
        case {"text": str(text), "content": [*blocks]} if all(_is_text(block) for block in blocks):
            return _cut(text)
    return _cut(canonical_json.encode(data))


def _is_text(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "text"


def _cut(text: str) -> str:
    content = text.encode()
    if len(content) <= _MAX_ANSWER_BYTES:
        return text
    kept = content[:_MAX_ANSWER_BYTES].decode(errors="ignore")
    return f"{kept}\n(cut: these are the first {_MAX_ANSWER_BYTES} of {len(content)} bytes)"
