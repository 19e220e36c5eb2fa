"""`sagahold notifications …` against a running stack."""

from collections.abc import Callable, Iterator

import pytest

from cli.stack import Stack
from services.database import open_engine
from services.transaction import Store
from tests.acceptance.commands import Ran
from tests.conftest import Recorded
from tests.services.people import person, tell
from tests.services.world import change, uuid_of

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
    person(store, namespace, "json://u:secret@127.0.0.1:1/secret", namespaces=[namespace])
    tell(store, watch_id, namespace=namespace, asked=[f"person:{namespace}@example.com"])
    ended = "status = 'failed', completed_at = now(), last_error = 'the service answered 404'"
    change(store, f"UPDATE notifications SET {ended} WHERE pause_id = :id", id=uuid_of(watch_id))
    listed = call("notifications", "list", "--pause", watch_id, "--status", "failed").out
    assert "the service answered 404" in listed
    assert "secret" not in listed
    assert max(map(len, listed.splitlines())) <= 80
    (item,) = call("notifications", "list", "--pause", watch_id, "--json").document["items"]
    assert call("notifications", "retry", item["id"]).out == f"{item['id']} is sent again\n"
    call("pause", "approve", watch_id)
    assert call("notifications", "retry", item["id"]).error.startswith("NOTIFICATION_ENDED: ")
