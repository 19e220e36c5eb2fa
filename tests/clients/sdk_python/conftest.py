"""A client of the SDK with an agent's key."""

from collections.abc import Iterator

import pytest
import sagahold

from tests.clients.desk import Desk


@pytest.fixture
def client(desk: Desk) -> Iterator[sagahold.Client]:
    with sagahold.Client(desk.url, desk.agent_key) as made:
        yield made


@pytest.fixture
def environ(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment from which a decorated function makes its client."""
    for name, value in desk.environ.items():
        monkeypatch.setenv(name, value)
