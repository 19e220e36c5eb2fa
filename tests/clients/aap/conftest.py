"""The package `agentapprovalprotocol`, unmodified."""

from collections.abc import Iterator

import pytest

from tests.clients.desk import Desk
from tests.clients.install import HERE
from tests.clients.programs import Start, programs


@pytest.fixture
def start(desk: Desk) -> Iterator[Start]:
    with programs(HERE / "aap", desk.environ) as started:
        yield started
