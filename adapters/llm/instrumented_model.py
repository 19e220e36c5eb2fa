"""A model that measures its requests, and checks each answer before any tool is called."""

import logging
import time
from typing import Any

from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from adapters.llm import failures
from adapters.llm.progress import Progress, milliseconds_since
from adapters.otel import tracing
from domain.manifests.reasoning_parser import SUBMIT
from domain.sagas.step import Error

log = logging.getLogger(__name__)


class InstrumentedModel(WrapperModel):
    """
    Attributes:
        last: the model's last turn, even if it ended the request.
    """

    def __init__(self, wrapped: Model, progress: Progress, provider: str) -> None:
        super().__init__(wrapped)
        self._progress, self._spoken_to = progress, provider
        self.last: ModelResponse | None = None

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        began = time.perf_counter()
        about = {"gen_ai.operation.name": "chat", "gen_ai.request.model": self.model_name}
        about["gen_ai.provider.name"] = self._spoken_to
        try:
            with tracing.running(tracing.child(f"chat {self.model_name}", "client", about)) as span:
                response = await super().request(messages, model_settings, model_request_parameters)
                span.set_attribute("gen_ai.usage.input_tokens", response.usage.input_tokens)
                span.set_attribute("gen_ai.usage.output_tokens", response.usage.output_tokens)
                if response.model_name:
                    span.set_attribute("gen_ai.response.model", response.model_name)
        except (TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            # The library does not check the form of an answer.
            log.warning("a model's answer could not be read: %s", failures.place(error))
            raise UnexpectedModelBehavior("the answer could not be read") from None
        finally:
            self._progress.llm_ms += milliseconds_since(began)
        self.last = response
        self._progress.requests += 1
        self._progress.input_tokens += response.usage.input_tokens
        self._progress.output_tokens += response.usage.output_tokens
        self._check(response, model_request_parameters)
        return response

    def _check(self, response: ModelResponse, shown: ModelRequestParameters) -> None:
        """Check the turn. Raises `RunEnded` if any of it is forbidden, so that none of it is called.

        The library would call the turn's other tools, and then report the error to the model.
        """
        calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
        for call in calls:
            if call.tool_name not in shown.tool_defs:
                raise self._progress.forbid(call.tool_name, call.args)
        texts = (part.content for part in response.parts if isinstance(part, TextPart))
        self._progress.silent = not calls and not any(text.strip() for text in texts)
        if any(call.tool_name == SUBMIT and not _readable(call) for call in calls):
            code = "STRUCTURED_OUTPUT_FAILED" if self._progress.simple else "OUTPUT_SCHEMA_VALIDATION_FAILED"
            self._progress.refused = Error(code, "the model submitted something else than a JSON object")


def _readable(call: ToolCallPart) -> bool:
    try:
        arguments: Any = call.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        return False
    return isinstance(arguments, dict)
