"""/v1/notifications: what an operator sees of messages to people, and who else does not."""

from collections.abc import Callable

import httpx
import pytest

from services.kernel.unit_of_work import Database
from tests.api.conftest import Team
from tests.services.people import untold


@pytest.fixture
def failed(stack_database: Database, team: Team) -> str:
    """The watchId of a review that Anne did not hear of."""
    watch_id = str(team.pause()["watchId"])
    untold(stack_database, watch_id, watch_id.removeprefix("wch_"), team.namespace)
    return watch_id


def test_an_operator_sees_what_failed_and_retries_it(team: Team, failed: str) -> None:
    """Without a secret of the channel."""
    answer = team.operator.get("/v1/notifications", params={"watch_id": failed, "status": "failed"})
    (item,) = answer.json()["items"]
    assert (item["channel"], item["last_error"], item["attempts"]) == (
        "json://127.0.0.1",
        "the service answered 404",
        6,
    )
    assert "secret" not in answer.text
    again = team.operator.post(f"/v1/notifications/{item['id']}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert team.admin.get("/v1/audit-events", params={"type": "notification.retried"}).json()["items"]


def test_what_is_over_is_not_retried(team: Team, failed: str) -> None:
    (item,) = team.operator.get("/v1/notifications", params={"watch_id": failed}).json()["items"]
    team.reviewer.post(f"/api/pause/{failed}/approve").raise_for_status()
    refused = team.operator.post(f"/v1/notifications/{item['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "NOTIFICATION_ENDED")


def test_nobody_else(team: Team, failed: str, client_for: Callable[..., httpx.Client]) -> None:
    """Agents and reviewers are refused; another namespace's are not there."""
    (item,) = team.operator.get("/v1/notifications", params={"watch_id": failed}).json()["items"]
    for client in (team.agent, team.reviewer):
        assert client.get("/v1/notifications").status_code == 403
        assert client.post(f"/v1/notifications/{item['id']}/retry").status_code == 403
    stranger = client_for("operator")
    assert stranger.get("/v1/notifications", params={"watch_id": failed}).json()["items"] == []
    assert stranger.post(f"/v1/notifications/{item['id']}/retry").status_code == 404


def test_a_channel_that_cannot_be_sent_to_is_refused_where_it_is_said(team: Team) -> None:
    new = {"email": f"{team.namespace}@example.com", "name": "A", "role": "reviewer", "namespaces": [team.namespace]}
    for channel in ("syslog://localhost", "json://x.example.com/?attach=/etc/passwd", "nonsense", "email"):
        refused = team.admin.post("/v1/people", json=new | {"channels": [channel]})
        assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "channels[0]"), channel
