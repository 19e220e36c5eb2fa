"""The entry for threads. Model requests and their tool calls run on the loop of the tool client."""

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
    """A runner that the threads of a process may share. A forked child needs its own.

    Its model requests end with the tool client.
    """

    def __init__(self, tool_client: ToolClient, settings: LlmSettings) -> None:
        self._tool_client = tool_client
        self._settings = settings
        self._lock = threading.Lock()
        self._models: Models | None = None

    def ask_model(self, question: ModelInput) -> "concurrent.futures.Future[ModelResult]":
        """Begin the model request. Every end of it is a `ModelResult`.

        Cancelling the future ends the request at once, with a tool call in flight. Its outcome is then unknown.
        """
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
