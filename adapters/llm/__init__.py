"""Questions to models, which may use tools before they answer. `ModelRunner` is the door.

What this package imports at once is light; the library under it (half a second to seconds, tens of megabytes) is
imported with the first question, so that a worker that never asks any does not carry it.
"""

from adapters.llm.runner import ModelRunner
from adapters.llm.settings import LlmSettings

__all__ = ["LlmSettings", "ModelRunner"]
