"""`sagahold notifications …` against a running stack."""

from collections.abc import Callable, Iterator

import pytest

from cli.stack import Stack
from services.database import open_engine
from services.transaction import Store
from tests.acceptance.commands import Ran
from tests.conftest import Recorded
from tests.services.people import untold

Call = Callable[..., Ran]


@pytest.fixture
def store(stack: Stack) -> Iterator[Store]:
    """The stack's own database: what is stored here no worker is told of."""
    engine = open_engine(stack.settings.database_url, 2, "test")
    yield Store(engine, Recorded(), stack.url)
    engine.dispose()


def test_what_failed_is_seen_and_sent_again(
    call: Call, paused: Callable[..., str], namespace: str, store: Store
) -> None:
    """A line holds 80 characters; no secret is shown."""
    watch_id = paused("x")
    untold(store, watch_id, namespace, namespace)
    listed = call("notifications", "list", "--pause", watch_id, "--status", "failed").out
    assert "the service answered 404" in listed
    assert "secret" not in listed
    assert max(map(len, listed.splitlines())) <= 80
    (item,) = call("notifications", "list", "--pause", watch_id, "--json").document["items"]
    assert call("notifications", "retry", item["id"]).out == f"{item['id']} is sent again\n"
    call("pause", "approve", watch_id)
    assert call("notifications", "retry", item["id"]).error.startswith("NOTIFICATION_ENDED: ")
