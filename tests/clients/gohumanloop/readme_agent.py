"""The example of the package's README, with its adapter's manager for the terminal replaced by that for the server.

A scripted model takes the place of the paid one, and the web search is never called.
"""

import importlib.metadata
import os
import re
import sys
from types import ModuleType
from typing import Any

from gohumanloop.adapters import langgraph_adapter
from gohumanloop.manager.ghl_manager import GoHumanLoopManager
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool


class Model(FakeMessagesListChatModel):
    def bind_tools(self, *_: Any, **__: Any) -> "Model":
        return self


def init_chat_model(_: str) -> Model:
    call = {"name": "human_assistance", "args": {"query": "Which framework?"}, "id": "call-1"}
    return Model(responses=[AIMessage("", tool_calls=[call]), AIMessage("Thank you.")])


def tavily_search(**_: Any) -> Any:
    @tool
    def search(query: str) -> str:
        """Search the web."""
        raise NotImplementedError

    return search


for name, content in {
    "langchain": {},
    "langchain.chat_models": {"init_chat_model": init_chat_model},
    "langchain_tavily": {"TavilySearch": tavily_search},
}.items():
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)

langgraph_adapter.default_adapter.manager = GoHumanLoopManager(poll_interval=1)
readme = str(importlib.metadata.metadata("gohumanloop").get_payload())
(example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
sys.stdout.flush()
os._exit(0)
