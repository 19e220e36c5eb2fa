"""Who may do what, over HTTP: every route with every role, with no key, and the rule that nobody decides their own."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, cast

import httpx
import pytest

from app import create_app
from app.deps import Deps
from cli.stack import Stack
from domain.access import GRANTS, Permission, Role
from tests.api.conftest import Team

Clients = Callable[..., httpx.Client]

# Without a key: what monitors ask, what tells how to use the API, and the page that says how to decide.
PUBLIC = {
    "/healthz",
    "/readyz",
    "/v1/health",
    "/openapi.json",
    "/docs",
    "/docs/start.js",
    "/docs/assets/<name>",
    "/review/<watch_id>",
}


def _routes() -> list[tuple[str, str, Permission | None]]:
    """Every path and method with the permission it asks for, from the app itself; no view is run here."""
    app = create_app(Deps(*cast(Any, [None] * len(fields(Deps)))))
    return [
        (rule.rule, method, getattr(app.view_functions[rule.endpoint], "permission", None))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


ROUTES = _routes()
GUARDED = [pytest.param(*route, id=f"{route[1]} {route[0]}") for route in ROUTES if route[2] is not None]


def test_only_these_routes_are_open_to_everyone() -> None:
    assert {path for path, _, permission in ROUTES if permission is None} == PUBLIC


@pytest.mark.parametrize(("path", "method", "permission"), GUARDED)
def test_a_route_lets_in_the_roles_that_have_its_permission_and_no_other(
    path: str, method: str, permission: Permission, stack: Stack, team: Team
) -> None:
    """Whoever is let in gets further: there is no such thing (404), or the body is missing."""
    url = path
    for name, prefix in (
        ("watch_id", "wch_"),
        ("endpoint_id", "ep_"),
        ("delivery_id", "dlv_"),
        ("key_id", "key_"),
        ("definition_id", "def_"),
        ("trace_id", ""),
    ):
        url = url.replace(f"<{name}>", f"{prefix}{'0' * 32}")
    url = url.replace("<step_span_id>", "0" * 16).replace("<trace:trace_id>", "0" * 32)
    answers = {role: getattr(team, role).request(method, url) for role in Role}
    let_in = {role for role, answer in answers.items() if answer.status_code not in (401, 403)}
    assert let_in == GRANTS[permission]
    for role in set(Role) - let_in:
        assert answers[role].status_code == 403
        assert answers[role].json()["code"] == "FORBIDDEN"
    nobody = httpx.request(method, stack.url + url)
    assert nobody.status_code == 401
    assert nobody.json()["code"] == "UNAUTHENTICATED"
    assert nobody.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_an_open_route_answers_without_a_key(path: str, stack: Stack) -> None:
    url = path.replace("<watch_id>", f"wch_{'0' * 32}").replace("<name>", "swagger-ui.css")
    assert httpx.get(stack.url + url).status_code == 200


def test_an_agent_never_decides(client_for: Clients) -> None:
    agent, other = client_for("agent"), client_for("agent")
    watch_id = agent.post("/api/pause", json={"action": "Deploy"}).json()["watchId"]
    for client in (agent, other):
        for verb in ("approve", "reject"):
            assert client.post(f"/api/pause/{watch_id}/{verb}", json={}).status_code == 403
    assert agent.get(f"/api/pause/{watch_id}").json()["status"] == "pending"


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_nobody_decides_what_they_created(verb: str, client_for: Clients) -> None:
    """An admin may create and may decide, but not the same pause."""
    admin, reviewer = client_for("admin"), client_for("reviewer")
    watch_id = admin.post("/api/pause", json={"action": "Deploy"}).json()["watchId"]
    own = admin.post(f"/api/pause/{watch_id}/{verb}", json={})
    assert (own.status_code, own.json()["code"]) == (403, "SELF_DECISION")
    assert admin.get(f"/api/pause/{watch_id}").json()["status"] == "pending"
    assert reviewer.post(f"/api/pause/{watch_id}/{verb}", json={}).status_code == 200
    # Also afterwards: the answer does not depend on what others did.
    assert admin.post(f"/api/pause/{watch_id}/{verb}", json={}).json()["code"] == "SELF_DECISION"


def test_only_its_creator_cancels_a_pause(client_for: Clients) -> None:
    """Another agent does not even see it."""
    agent, other, reviewer = client_for("agent"), client_for("agent"), client_for("reviewer")
    watch_id = agent.post("/api/pause", json={"action": "Deploy"}).json()["watchId"]
    assert other.post(f"/api/pause/{watch_id}/cancel").status_code == 404
    assert reviewer.post(f"/api/pause/{watch_id}/cancel").status_code == 403
    assert agent.post(f"/api/pause/{watch_id}/cancel").json()["status"] == "cancelled"


def test_an_admin_of_some_namespaces_makes_no_key_that_reaches_further(client_for: Clients, namespace: str) -> None:
    admin = client_for("admin")
    new = {"name": "x", "role": "agent"}
    for names in (["*"], ["default"], [namespace, "default"]):
        assert admin.post("/v1/keys", json=new | {"namespaces": names}).status_code == 403
    assert admin.post("/v1/keys", json=new | {"namespaces": [namespace]}).status_code == 201


def test_an_admin_of_some_namespaces_sees_and_revokes_only_keys_within_them(client_for: Clients) -> None:
    wide, narrow = client_for("admin", ["*"]), client_for("admin")
    foreign = wide.post("/v1/keys", json={"name": "foreign", "role": "agent", "namespaces": ["*"]}).json()
    assert foreign["id"] not in [key["id"] for key in narrow.get("/v1/keys?limit=100").json()["items"]]
    assert narrow.post(f"/v1/keys/{foreign['id']}/revoke").status_code == 404
    revoked = wide.post(f"/v1/keys/{foreign['id']}/revoke").json()
    assert revoked["revoked_at"] is not None
    assert wide.post(f"/v1/keys/{foreign['id']}/revoke").json() == revoked
