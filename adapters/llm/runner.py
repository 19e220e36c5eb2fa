"""The door for threads. Thoughts run on the loop of the tool client, where also their tool calls are awaited."""

import concurrent.futures
import threading
from typing import TYPE_CHECKING

from adapters.llm.progress import Progress
from adapters.llm.settings import LlmSettings
from adapters.mcp import ToolClient
from adapters.process.event_loop_thread import Stopped
from domain.sagas.outcome import NotSent
from domain.sagas.reasoning import ModelInput, ModelResult
from domain.sagas.step import Error

if TYPE_CHECKING:
    from adapters.llm.models import Models


class ModelRunner:
    """Safe to share between the threads of a process; not across a fork. Its thoughts end with the tool client."""

    def __init__(self, tool_client: ToolClient, settings: LlmSettings) -> None:
        self._tool_client = tool_client
        self._settings = settings
        self._lock = threading.Lock()
        self._models: Models | None = None

    def ask_model(self, question: ModelInput) -> "concurrent.futures.Future[ModelResult]":
        """Whatever comes of it, the result is a `ModelResult`. Cancelling the future ends the model's request at
        once, and a tool call that is in flight too: what that has done nobody knows then."""
        from adapters.llm.agent_run import ask_model

        try:
            return self._tool_client.loop.submit(ask_model(question, self._tool_client, self._made()))
        except Stopped:
            future: concurrent.futures.Future[ModelResult] = concurrent.futures.Future()
            stopping = NotSent(Error("MCP_UNAVAILABLE", "the worker is shutting down"))
            future.set_result(ModelResult(stopping, Progress(question).report()))
            return future

    def _made(self) -> "Models":
        from adapters.llm.models import Models

        with self._lock:
            if self._models is None:
                self._models = Models(self._settings)
            return self._models
