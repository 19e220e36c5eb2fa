"""The outcomes of model requests that failed."""

import logging
import traceback
from typing import Any

from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    OutputTokenLimitExceeded,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)

from adapters.llm.http_transport import MAX_BODY_BYTES, Compressed, Redirected, ResponseTooLarge
from adapters.llm.progress import Progress, RunEnded, clean
from domain.sagas.outcome import Failed, Outcome
from domain.sagas.reasoning import ModelInput
from domain.sagas.step import Error

log = logging.getLogger(__name__)

# Characters of a provider's own text in an error.
_MAX_WORDS = 500


def outcome(error: Exception, question: ModelInput, progress: Progress, secrets: tuple[str, ...]) -> Outcome:
    provider = f"the provider {question.worker.provider!r}"
    match error:
        case RunEnded():
            return error.outcome
        case UsageLimitExceeded():
            return Failed(_limit(question, progress))
        case ContentFilterError():
            return _failed("PROVIDER_REJECTED", f"{provider} refused to answer by its content filter")
        case OutputTokenLimitExceeded():
            return _failed("STRUCTURED_OUTPUT_FAILED", "the model's answer was cut off at its longest length")
        case ModelHTTPError(status_code=status) if 400 <= status < 500 and status != 429:
            words = _words(error.body, secrets)
            return _failed("PROVIDER_REJECTED", f"{provider} refused the request with HTTP {status}: {words}")
        case ModelHTTPError(status_code=status):
            return _failed("PROVIDER_UNAVAILABLE", f"{provider} answered HTTP {status}{_asked(error)}")
        case ModelConnectionError():
            return _broken_off(error, provider)
        case ModelAPIError() | UnexpectedModelBehavior():
            return _failed("STRUCTURED_OUTPUT_FAILED", f"{provider} answered what is no answer of a model")
    log.error("a model request broke off: %s", place(error), extra={"idempotency_key": question.key})
    return _failed("INTERNAL", f"internal error, see the worker's log: {type(error).__name__}")


def place(error: BaseException) -> str:
    """Return the error's type and place. Its text may hold the words of a model or a tool."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('site-packages/')[2]}:{frame.lineno}"


def _failed(code: str, message: str) -> Failed:
    return Failed(Error(code, message))


def _limit(question: ModelInput, progress: Progress) -> Error:
    most = question.reasoning.max_step_tokens
    used = progress.input_tokens + progress.output_tokens
    if most is not None and used > most:
        return Error("STEP_TOKEN_LIMIT_EXCEEDED", f"{used} tokens were used, and max_step_tokens is {most}")
    if progress.refused is not None:
        return progress.refused
    if not progress.simple:
        return Error("NO_SUBMIT_CALL", f"the model submitted no answer in {progress.requests} turns")
    if progress.silent and question.reasoning.output_schema.get("required"):
        return Error("EMPTY_STRUCTURED_RESULT", "the model's answer is empty")
    return Error("STRUCTURED_OUTPUT_FAILED", "the model answered with text instead of the structured answer")


def _broken_off(error: Exception, provider: str) -> Failed:
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ResponseTooLarge():
                return _failed("STRUCTURED_OUTPUT_FAILED", f"{provider} sent an answer over {MAX_BODY_BYTES} bytes")
            case Compressed():
                return _failed("STRUCTURED_OUTPUT_FAILED", f"{provider} sent a compressed answer, unasked")
            case Redirected():
                text = "redirects to another address: give its address in the worker's environment"
                return _failed("PROVIDER_REJECTED", f"{provider} {text}")
        kind, cause = type(cause).__name__, cause.__cause__ or cause.__context__
    return _failed("PROVIDER_UNAVAILABLE", f"{provider} could not be reached, or broke the connection off: {kind}")


def _asked(error: ModelHTTPError) -> str:
    return f" and asks to wait {error.retry_after:g} s" if error.retry_after else ""


def _words(body: object, secrets: tuple[str, ...]) -> str:
    """Return the provider's text, without our credentials if it repeats them."""
    inner: Any = body.get("error", body) if isinstance(body, dict) else body
    text = inner.get("message") if isinstance(inner, dict) else inner
    text = clean(str(text)) if text else "it does not say why"
    for secret in secrets:
        text = text.replace(secret, "…")
    return text if len(text) <= _MAX_WORDS else text[:_MAX_WORDS] + "…"
