"""One model request, up to its result."""

import asyncio
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pydantic_ai
from pydantic_ai import Agent, ModelRetry, RunContext, StructuredDict, ToolOutput, UsageLimits, capture_run_messages

from adapters.llm import failures, submission, transcript
from adapters.llm.http_transport import DEADLINE
from adapters.llm.instrumented_model import InstrumentedModel
from adapters.llm.models import Models
from adapters.llm.progress import Progress, milliseconds_since
from adapters.llm.toolset import MAX_MISTAKES, AllowedTools, find
from adapters.mcp import ToolClient
from domain.manifests.reasoning_parser import SUBMIT
from domain.sagas import facts
from domain.sagas.outcome import Done, Failed, Outcome, TimedOut
from domain.sagas.reasoning import ModelInput, ModelResult
from domain.sagas.step import Error
from domain.values import json_schema as schema

# They warn about the words of models, tools and prompts. The model result has all that matters.
warnings.filterwarnings("ignore", module=r"pydantic_ai\b.*")
pydantic_ai.BANNER_ENABLED = False

_ABOUT_SUBMIT = "Give your answer by this, once, when it is complete: nothing else of what you write is read."


async def ask_model(question: ModelInput, client: ToolClient, models: Models) -> ModelResult:
    """Run the model request. It raises nothing but `CancelledError`."""
    progress = Progress(question)
    taken: Mapping[str, Any] = {}
    limit = asyncio.timeout(question.timeout)
    try:
        async with limit:
            DEADLINE.set(asyncio.get_running_loop().time() + question.timeout)
            outcome: Outcome = Done(await _answer(question, client, models, progress))
        taken = facts.take(question.reasoning.facts, progress.answers)
    except facts.FactMissing as missing:
        outcome = Failed(Error("FACT_EXTRACTION_FAILED", str(missing)))
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            text = f"no answer within {question.timeout:g} s"
            outcome = TimedOut(Error("STEP_TIMED_OUT", text), acted=progress.acted)
        else:
            outcome = failures.outcome(error, question, progress, models.secrets)
    if isinstance(outcome, Failed):
        outcome = replace(outcome, acted=progress.acted)
    return ModelResult(outcome, progress.report(), taken)


async def _answer(question: ModelInput, client: ToolClient, models: Models, progress: Progress) -> Any:
    """Return the submitted answer, which fits the schema. Raises `RunEnded`, and the library's errors."""
    began = time.perf_counter()
    try:
        tools = await find(client, question, progress)
    finally:
        progress.setup_ms = milliseconds_since(began)
    reasoning = question.reasoning
    turns = 1 if progress.simple else reasoning.max_turns
    model = InstrumentedModel(models.model(question), progress, question.worker.provider or "none")
    allowed = AllowedTools(client, question, tools, progress)
    agent = _agent(question, model, allowed)

    @agent.output_validator
    async def check(_: RunContext[None], value: Any) -> Any:
        try:
            return await submission.read_aside(reasoning.output_schema, value)
        except submission.SubmissionRefused as refused:
            progress.refused = refused.error
            raise ModelRetry(refused.error.message) from None

    with capture_run_messages() as messages:
        try:
            result = await agent.run(
                question.message,
                usage_limits=UsageLimits(request_limit=turns, total_tokens_limit=reasoning.max_step_tokens),
                model_settings=models.options(question.worker),
                infer_name=False,
            )
        finally:
            if reasoning.keep_transcript:
                progress.transcript = transcript.of(messages, model.last, allowed.names)
    return result.output


def _agent(question: ModelInput, model: InstrumentedModel, tools: AllowedTools) -> "Agent[None, dict[str, Any]]":
    """Make the agent. Its strategy `early` runs nothing else once a valid answer is submitted.

    That includes earlier calls of the same turn. After a useless answer the turn's other calls run, one by one.
    """
    # Providers want the type at the top, even if the schema has it below a reference or an allOf.
    shown = StructuredDict({"type": "object", **schema.inlined(dict(question.reasoning.output_schema))})
    output = ToolOutput(shown, name=SUBMIT, description=_ABOUT_SUBMIT)
    return Agent(
        model,
        output_type=output,
        instructions=question.system,
        deps_type=type(None),
        name="step",
        toolsets=[tools],
        retries=MAX_MISTAKES,
        end_strategy="early",
    )
