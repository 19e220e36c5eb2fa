"""People hear of a review although the worker, Redis or the mail server is not there when they should."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.adapters.notify.mail_server import MailServer
from tests.faults.scene import PATIENCE, Scene, until


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def anne(scene: Scene) -> Callable[[str], None]:
    """Return `anne(url)`, which adds a person who is notified of the scene's reviews on this channel."""

    def make(channel: str) -> None:
        email = f"anne@{scene.namespace}.example.com"
        new = {"email": email, "name": "Anne", "role": "reviewer", "namespaces": [scene.namespace]}
        scene.admin.post("/v1/people", json=new | {"channels": [channel]}).raise_for_status()

    return make


def notification(scene: Scene, watch_id: str) -> dict[str, Any]:
    """As an operator sees it; empty as long as there is none."""
    found = scene.admin.get("/v1/notifications", params={"watch_id": watch_id}).raise_for_status().json()["items"]
    assert len(found) <= 1
    return found[0] if found else {}


def sent(scene: Scene, watch_id: str) -> Callable[[], bool]:
    return lambda: notification(scene, watch_id).get("status") == "sent"


def test_a_killed_workers_mail_is_sent_by_another(
    scene: Scene, anne: Callable[[str], None], server: MailServer
) -> None:
    """The process that was sending ends with it; the lease runs out, and the mail arrives."""
    anne(server.url("anne@example.com"))
    server.stalls.set()
    watch_id = scene.pause()
    assert server.stalled.wait(PATIENCE), "no mail was begun"
    scene.stack.kill("worker", signal.SIGKILL)
    until("the connection is gone", lambda: server.broken > 0)
    server.stalls.clear()
    until("it was sent", sent(scene, watch_id))
    assert len(server.wait_for(1)) == 1


def test_redis_forgets(scene: Scene, anne: Callable[[str], None], server: MailServer) -> None:
    """A notification is a row, so it survives the loss of a message."""
    anne(server.url("anne@example.com"))
    scene.stack.stop_process("redis", 0)
    watch_id = scene.pause()
    scene.stack.start_process("redis")
    until("it was sent", sent(scene, watch_id))
    assert len(server.wait_for(1)) == 1


def test_a_mail_server_that_is_down_at_first(scene: Scene, anne: Callable[[str], None]) -> None:
    with MailServer() as gone:
        pass
    anne(gone.url("anne@example.com"))
    watch_id = scene.pause()
    until("it was tried", lambda: notification(scene, watch_id).get("attempts") == 1)
    tried = notification(scene, watch_id)
    assert (tried["status"], tried["last_error"]) == ("pending", "the connection failed: connection refused")
    with MailServer(port=gone.port) as server:
        until("it was sent", sent(scene, watch_id))
        assert len(server.wait_for(1)) == 1


def test_a_wrong_password_is_seen_and_can_be_made_good(scene: Scene, anne: Callable[[str], None]) -> None:
    """Nothing else tells the operator: the person does not know what they missed."""
    with MailServer(password=True) as server:
        anne(server.url("anne@example.com", "me", "wrong"))
        watch_id = scene.pause()
        until("it failed", lambda: notification(scene, watch_id).get("status") == "failed")
        failed = notification(scene, watch_id)
        assert failed["last_error"] == "the mail server answered 535 (user name or password)"
        assert "sagahold_failed_notifications 1.0" in scene.admin.get("/metrics").text
        server.password = "wrong"
        scene.admin.post(f"/v1/notifications/{failed['id']}/retry").raise_for_status()
        until("it was sent", sent(scene, watch_id))
