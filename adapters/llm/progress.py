"""The progress of a model request, so that its report is complete at any end."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from adapters.otel import tracing
from domain.manifests.definition import Adapter
from domain.sagas.outcome import Failed, Outcome
from domain.sagas.reasoning import ModelInput, RunReport, ToolUse
from domain.sagas.step import Error
from domain.values import canonical_json

# Characters of a tool's name, which a model may have made up, in a row or on a page.
_MAX_NAME = 200


class RunEnded(Exception):
    """The model request is over, whatever the model wants."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def failed(code: str, message: str) -> RunEnded:
    return RunEnded(Failed(Error(code, message)))


@dataclass(slots=True)
class ToolCallInProgress:
    """A tool call in flight. Until it is answered, its outcome is `lost`. `traceparent`: its own, with tracing on."""

    outcome: str = "lost"
    traceparent: str | None = None


class Progress:
    """
    Attributes:
        simple: the model has one turn.
        acted: a tool that does not say that it only reads may have changed something.
        harmless: none of the tools that were found may change anything.
        answers: the last of each tool, as it arrived. Facts are taken from these.
        refused: why the model's last submission was useless.
        silent: its last answer was empty.
    """

    def __init__(self, question: ModelInput) -> None:
        self._question = question
        self.simple = question.reasoning.adapter is Adapter.SIMPLE
        self.acted = False
        self.harmless = False
        self.answers: dict[str, Any] = {}
        self.refused: Error | None = None
        self.silent = False
        self.requests = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.setup_ms = 0.0
        self.llm_ms = 0.0
        self.tool_ms = 0.0
        self.uses: list[ToolUse] = []
        self.transcript: tuple[Any, ...] = ()

    @contextmanager
    def using(self, tool: str, arguments: Any) -> Iterator[ToolCallInProgress]:
        began = time.perf_counter()
        about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": _name(tool)}
        span = tracing.child(f"execute_tool {_name(tool)}", "client", about)
        use = ToolCallInProgress(traceparent=tracing.traceparent(span))
        try:
            yield use
        finally:
            if use.outcome != "ok":
                tracing.fail(span, use.outcome)
            span.end()
            ms = milliseconds_since(began)
            self.tool_ms += ms
            self.uses.append(ToolUse(_name(tool), _digest(arguments), ms, use.outcome))

    def forbid(self, tool: str, arguments: Any) -> RunEnded:
        """Note the forbidden call, and return the error that ends the model request."""
        self.uses.append(ToolUse(_name(tool), _digest(arguments), 0.0, "not_allowed"))
        return failed(
            "TOOL_NOT_ALLOWED", f"the model asked for the tool {_name(tool)!r}, which the step does not allow it"
        )

    def report(self) -> RunReport:
        worker = self._question.worker
        return RunReport(
            provider=worker.provider or "",
            model=worker.model_name,
            mock=worker.provider == "mock",
            acted=self.acted,
            harmless=self.harmless,
            requests=self.requests,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            setup_ms=self.setup_ms,
            llm_ms=self.llm_ms,
            tool_ms=self.tool_ms,
            tool_uses=tuple(self.uses),
            transcript=self.transcript,
        )


def milliseconds_since(began: float) -> float:
    """Return the milliseconds since that time of `time.perf_counter`."""
    return (time.perf_counter() - began) * 1000


def clean(text: str) -> str:
    """Return a model's text, fit for a row."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _name(tool: str) -> str:
    return clean(tool[:_MAX_NAME])


def _digest(arguments: Mapping[str, Any] | str | None) -> str:
    if not isinstance(arguments, str) and next(canonical_json.field_errors(arguments, ""), None) is None:
        return canonical_json.digest(arguments).hex()
    # JSON that readers understand differently has no canonical form, and was not sent either.
    return hashlib.sha256(repr(arguments).encode("utf-8", "replace")).hexdigest()
