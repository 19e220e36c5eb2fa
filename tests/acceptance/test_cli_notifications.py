"""`sagahold notifications …` against a running stack."""

from collections.abc import Callable

from services.kernel.unit_of_work import Database
from tests.acceptance.commands import Ran
from tests.services.people import untold

Call = Callable[..., Ran]


def test_what_failed_is_seen_and_sent_again(
    call: Call, paused: Callable[..., str], namespace: str, stack_database: Database
) -> None:
    """A line holds 80 characters; no secret is shown."""
    watch_id = paused("x")
    untold(stack_database, watch_id, namespace, namespace)
    listed = call("notifications", "list", "--pause", watch_id, "--status", "failed").out
    assert "the service answered 404" in listed
    assert "secret" not in listed
    assert max(map(len, listed.splitlines())) <= 80
    (item,) = call("notifications", "list", "--pause", watch_id, "--json").document["items"]
    assert call("notifications", "retry", item["id"]).out == f"{item['id']} will be sent again\n"
    call("pause", "approve", watch_id)
    assert call("notifications", "retry", item["id"]).error.startswith("NOTIFICATION_ENDED: ")
