"""The package `awaithumans`, as its makers publish it: only the base URL and the key are ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.programs import Start, programs

HERE = Path(__file__).parent


@pytest.fixture
def start(desk: Desk) -> Iterator[Start]:
    environ = {
        "AWAITHUMANS_URL": f"{desk.url}/compat/awaithumans",
        "AWAITHUMANS_ADMIN_API_TOKEN": desk.agent_key,
    }
    with programs(HERE, environ) as started:
        yield started
