"""Requests to models, which may use tools before they answer, through a `ModelRunner`.

Importing this package is cheap. The library under it costs half a second to seconds, and tens of megabytes. It is
imported with the first request, so that a worker without any does not carry it.
"""

from adapters.llm.runner import ModelRunner
from adapters.llm.settings import LlmSettings

__all__ = ["LlmSettings", "ModelRunner"]
