"""The package `gohumanloop`, unmodified."""

from collections.abc import Iterator

import pytest

from tests.clients.desk import Desk
from tests.clients.install import HERE
from tests.clients.programs import Start, programs


@pytest.fixture
def start(desk: Desk) -> Iterator[Start]:
    environ = {"GOHUMANLOOP_API_BASE_URL": f"{desk.url}/compat/gohumanloop", "GOHUMANLOOP_API_KEY": desk.agent_key}
    with programs(HERE / "gohumanloop", environ) as started:
        yield started
