"""Models that are none: one plays the manifest's script, one makes up an example of the schema."""

import asyncio

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from adapters.llm.tools import SUBMIT
from domain.definition import Thinking


def mock_model(thinking: Thinking) -> Model:
    if not thinking.script:
        return TestModel(call_tools=[])
    turns = iter(thinking.script)

    async def play(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = next(turns, None)
        if turn is None:
            return ModelResponse([TextPart("(the script is over)")])
        await asyncio.sleep(turn.after)
        return ModelResponse([ToolCallPart(turn.tool or SUBMIT, dict(turn.arguments))])

    return FunctionModel(play, model_name="script")
