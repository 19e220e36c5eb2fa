"""The models of workers. A provider's client is made once, at its first use, and shared."""

from typing import Any

from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from adapters.llm.http_transport import http_client, timeout
from adapters.llm.mock import mock_model
from adapters.llm.progress import failed
from adapters.llm.settings import LlmSettings
from domain.manifests.definition import WorkerDefinition
from domain.sagas.reasoning import ModelInput

# Anthropic requires a limit. This is the longest answer that its client asks for without a stream, rounded down.
# The library lowers it for models that cannot write as much.
_MAX_TOKENS = 16_384
# Sent to servers that need no key: the client requires one.
_NO_KEY = "none"


class Models:
    """The models of a process, which belong to one event loop."""

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings
        self._providers: dict[str, Any] = {}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that no error text may hold."""
        names = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SAGAHOLD_LOCAL_LLM_KEY")
        return tuple(value for name in names if (value := self._settings.environ.get(name)))

    def model(self, question: ModelInput) -> Model:
        """Return the worker's model. Raises `RunEnded` if it cannot be used in this environment."""
        worker = question.worker
        if worker.provider == "mock":
            return mock_model(question.reasoning)
        if worker.provider not in ("openai", "anthropic", "local") or not worker.model_name:
            raise failed(
                "WORKER_CONFIG_LOAD_FAILED",
                f"the worker {worker.name!r} names no model that can be asked: give it a provider and a model_name",
            )
        if worker.provider == "anthropic":
            from pydantic_ai.models.anthropic import AnthropicModel

            return AnthropicModel(worker.model_name, provider=self._provider(worker))
        from pydantic_ai.models.openai import OpenAIChatModel

        return OpenAIChatModel(worker.model_name, provider=self._provider(worker), profile=_profile(worker))

    def options(self, worker: WorkerDefinition) -> ModelSettings:
        options = ModelSettings(temperature=worker.temperature)
        if worker.provider == "anthropic":
            options["max_tokens"] = _MAX_TOKENS
        return options

    def _provider(self, worker: WorkerDefinition) -> Any:
        name = worker.provider or ""
        if name not in self._providers:
            make = {"openai": self._openai, "anthropic": self._anthropic, "local": self._local}[name]
            self._providers[name] = make(worker)
        return self._providers[name]

    def _openai(self, worker: WorkerDefinition) -> Any:
        key = self._variable("OPENAI_API_KEY", worker)
        return self._speaks_openai(key, self._settings.environ.get("OPENAI_BASE_URL"))

    def _local(self, worker: WorkerDefinition) -> Any:
        url = self._variable("SAGAHOLD_LOCAL_LLM_URL", worker)
        return self._speaks_openai(self._settings.environ.get("SAGAHOLD_LOCAL_LLM_KEY") or _NO_KEY, url)

    def _speaks_openai(self, key: str, url: str | None) -> Any:
        from openai import AsyncOpenAI
        from pydantic_ai.providers.openai import OpenAIProvider

        client = AsyncOpenAI(
            api_key=key,
            base_url=url or "https://api.openai.com/v1",
            timeout=timeout(),
            max_retries=0,
            http_client=http_client(self._settings),
        )
        # The library takes these from environment variables that concern another server.
        client.organization = client.project = None
        client._custom_headers = {}
        return OpenAIProvider(openai_client=client)

    def _anthropic(self, worker: WorkerDefinition) -> Any:
        from anthropic import AsyncAnthropic
        from pydantic_ai.providers.anthropic import AnthropicProvider

        client = AsyncAnthropic(
            api_key=self._variable("ANTHROPIC_API_KEY", worker),
            base_url=self._settings.environ.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com",
            timeout=timeout(),
            max_retries=0,
            http_client=http_client(self._settings),
            open_telemetry=False,
        )
        client._custom_headers = {}  # as above
        return AnthropicProvider(anthropic_client=client)

    def _variable(self, name: str, worker: WorkerDefinition) -> str:
        if value := self._settings.environ.get(name):
            return value
        raise failed(
            "WORKER_CONFIG_LOAD_FAILED",
            f"the environment variable {name}, which the provider {worker.provider!r} of the worker {worker.name!r} "
            "needs, is not set in the worker",
        )


def _profile(worker: WorkerDefinition) -> Any:
    """Return the profile for servers that understand OpenAI's protocol, but not all of its newer features."""
    if worker.provider != "local":
        return None
    from pydantic_ai.profiles.openai import OpenAIModelProfile

    return OpenAIModelProfile(openai_supports_strict_tool_definition=False, openai_chat_supports_allowed_tools=False)
