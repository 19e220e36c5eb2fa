"""The package `gotohuman`, unmodified."""

from collections.abc import Iterator

import pytest

from tests.clients.desk import Desk
from tests.clients.install import HERE
from tests.clients.programs import Start, programs


@pytest.fixture
def start(desk: Desk) -> Iterator[Start]:
    environ = {"GOTOHUMAN_BASE_URL": f"{desk.url}/compat/gotohuman", "GOTOHUMAN_API_KEY": desk.agent_key}
    with programs(HERE / "gotohuman", environ | {"GOTOHUMAN_AGENT_ID": "poster"}) as started:
        yield started
