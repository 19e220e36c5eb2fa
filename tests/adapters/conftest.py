"""Shared fixtures for tests of model requests: tools that start once, and providers with scripted answers."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.adapters.llm.server import LlmServer
from tests.adapters.llm.wire import Reply
from tests.adapters.llm.world import Desk, Tools, desks


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    tools = Tools(tmp_path_factory.mktemp("tools"))
    yield tools
    tools.client.close()


@pytest.fixture
def desk_for(tools: Tools) -> Iterator[Callable[..., Desk]]:
    """Return `desk_for(reply, reply, …)`, a runner whose provider gives these replies. Nothing has been called yet."""
    with contextlib.ExitStack() as stack:

        def make(*script: Reply, by: Any = None, **changes: Any) -> Desk:
            return stack.enter_context(desks(LlmServer(*script, by=by), tools, **changes))

        yield make
