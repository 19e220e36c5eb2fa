"""Mock models: one plays the manifest's script, one makes up an example of the schema."""

import asyncio

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from adapters.llm.tool_names import shown_names
from domain.manifests.definition import Reasoning
from domain.manifests.reasoning_parser import SUBMIT


def mock_model(reasoning: Reasoning) -> Model:
    if not reasoning.script:
        return TestModel(call_tools=[])
    turns = iter(reasoning.script)
    shown = {own: name for name, own in shown_names(reasoning.tools).items()}

    async def play(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = next(turns, None)
        if turn is None:
            return ModelResponse([TextPart("(the script is over)")])
        await asyncio.sleep(turn.after)
        tool = SUBMIT if turn.tool is None else shown.get(turn.tool, turn.tool)
        return ModelResponse([ToolCallPart(tool, dict(turn.arguments))])

    return FunctionModel(play, model_name="script")
