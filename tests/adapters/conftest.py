"""What tests of thoughts share: tools that are started once, and providers that answer by a script."""

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
    """`desk_for(reply, reply, …)`: a thinker whose provider answers so. Nothing has been called yet."""
    with contextlib.ExitStack() as stack:

        def make(*script: Reply, by: Any = None, **changes: Any) -> Desk:
            return stack.enter_context(desks(LlmServer(*script, by=by), tools, **changes))

        yield make
