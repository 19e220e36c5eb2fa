"""The tools a model may use: those its step allows and no other, both in what it is shown and in what is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_ai import RunContext, ToolDefinition
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from adapters import mcp
from adapters.llm.progress import Progress, RunEnded, clean, failed
from adapters.llm.tool_names import shown_names
from domain.manifests import resources
from domain.manifests.definition import ToolSource
from domain.manifests.reasoning_parser import READ_RESOURCE, SUBMIT
from domain.sagas.outcome import Lost, NotSent
from domain.sagas.reasoning import ModelInput
from domain.sagas.step import Error
from domain.values import canonical_json

# Calls and reads of one thought. A model that wants more goes in circles.
MAX_CALLS = 100
# Mistakes that the library bears with: never reached, as turns and calls are what is limited.
MAX_MISTAKES = 1_000_000
# Of one answer, to the model: what many of these add up to must still fit what models read.
_MAX_ANSWER_BYTES = 64 * 1024
_AGAIN = "it was asked before, and nobody knows what that did"
_NOT_OURS = "the worker stood still, or had no database, for so long that another may have taken the step over"
# The server checks what it is given, and says what is wrong with it.
_ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))
_RESOURCE_SCHEMA = {"type": "object", "properties": {"uri": {"type": "string"}}, "required": ["uri"]}


@dataclass(frozen=True, slots=True)
class Tool:
    source: ToolSource
    info: mcp.ToolInfo

    @property
    def changes(self) -> bool:
        """Something, perhaps."""
        return self.info.read_only is not True

    @property
    def repeatable(self) -> bool:
        return not self.changes or bool(self.info.idempotent)


async def find(client: mcp.ToolClient, question: ModelInput, progress: Progress) -> dict[str, Tool]:
    """Each allowed tool in the first source that has it. Raises `RunEnded`, also when a source before that one is away:
    another's tool of the same name is not what the step allows."""
    wanted = question.reasoning.tools
    for name in (SUBMIT, *((READ_RESOURCE,) if question.resources else ())):
        if name in wanted:
            raise failed("TOOL_NOT_FOUND", f"{name!r} is a name of the engine's own: no tool of that name can be used")
    found: dict[str, Tool] = {}
    try:
        for source in question.sources:
            if len(found) == len(wanted):
                break
            for info in await client.atools(source):
                if info.name in wanted:
                    found.setdefault(info.name, Tool(source, info))
        missing = [name for name in wanted if name not in found]
        if missing:
            raise mcp.ToolNotFound(client.missing(question.sources, missing[0]))
    except mcp.NotSent as error:
        raise RunEnded(mcp.not_sent(error, f"{_AGAIN}, and it" if question.again else None)) from None
    progress.harmless = not any(tool.changes for tool in found.values())
    if question.again:
        progress.acted = not progress.harmless
        if not all(tool.repeatable for tool in found.values()):
            raise RunEnded(Lost(f"{_AGAIN}: not all of its tools are idempotent", idempotent=False))
    return found


class AllowedTools(AbstractToolset[None]):
    """Of one thought.

    Attributes:
        names: the tools' own, by those that the model is shown and calls them by.
    """

    def __init__(
        self, client: mcp.ToolClient, question: ModelInput, tools: Mapping[str, Tool], progress: Progress
    ) -> None:
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
        """What the model is told. Raises `ToolFailed` for what it may adapt to, `RunEnded` for what it may not."""
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
        return _told(data)

    async def _call(self, tool: Tool, arguments: Mapping[str, Any]) -> Any:
        progress, acted = self._progress, self._progress.acted
        progress.acted = acted or tool.changes
        with progress.using(tool.info.name, arguments) as use:
            meta = dict(self._question.meta) | ({} if use.traceparent is None else {"traceparent": use.traceparent})
            try:
                result = await self._client.acall(
                    tool.source,
                    tool.info.name,
                    arguments,
                    meta=meta,
                    idempotency_key=f"{self._question.key}-{self._calls}",
                    ours=self._question.ours if tool.changes else None,
                    progress=self._question.heard,
                )
            except mcp.LeaseLost:
                use.outcome, progress.acted = "unavailable", acted
                lost = Lost(_NOT_OURS, idempotent=False) if acted else NotSent(Error("MCP_UNAVAILABLE", _NOT_OURS))
                raise RunEnded(lost) from None
            except mcp.NotSent as error:
                use.outcome, progress.acted = "unavailable", acted
                raise ToolFailed(f"not called: {error}") from None
            except mcp.ToolFailed as error:
                use.outcome, progress.acted = "failed", acted
                raise ToolFailed(str(error)) from None
            except mcp.BadOutput as error:
                use.outcome = "failed"
                raise ToolFailed(str(error)) from None
            except mcp.Unknown as error:
                if not tool.repeatable:
                    raise RunEnded(Lost(str(error), idempotent=False, answer=error.answer)) from None
                raise ToolFailed(f"{error}. Whether it was done is not known; it may be called again.") from None
            use.outcome = "ok"
            return result.data

    async def _read(self, uri: Any) -> str:
        if not isinstance(uri, str) or not resources.allows(self._question.resources, uri):
            raise self._forbidden(uri)
        with self._progress.using(READ_RESOURCE, {"uri": uri}) as use:
            try:
                text = await self._first_that_has(uri)
            except mcp.NotSent as error:
                use.outcome = "unavailable"
                raise ToolFailed(str(error)) from None
            except mcp.Answered as error:
                use.outcome = "failed"
                raise ToolFailed(str(error)) from None
            except mcp.Unknown as error:
                raise ToolFailed(f"{error}. It may be read again.") from None
            use.outcome = "ok"
            return _cut(text)

    def _forbidden(self, uri: Any) -> RunEnded:
        self._progress.forbid(READ_RESOURCE, {"uri": uri})
        shown = clean(str(uri)[:200])
        return failed("TOOL_NOT_ALLOWED", f"the model asked for the resource {shown!r}, which the step does not allow")

    async def _first_that_has(self, uri: str) -> str:
        """What another source would say is not asked for where one is away, as with tools."""
        refused: Exception = mcp.ToolNotFound("the worker has no tool source to read from")
        for source in self._question.sources:
            try:
                return await self._client.aread_resource(source, uri)
            except (mcp.ToolNotFound, mcp.ToolFailed) as error:
                refused = error
        raise refused


def _named(name: str, info: mcp.ToolInfo) -> ToolDefinition:
    """Prompts know the tool by its own name."""
    about = info.description if name == info.name else f"{info.name}: {info.description}"
    return _shown(name, dict(info.input_schema), about)


def _shown(name: str, schema: dict[str, Any], description: str) -> ToolDefinition:
    return ToolDefinition(name=name, parameters_json_schema=schema, description=description, sequential=True)


def _told(data: Any) -> str:
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
