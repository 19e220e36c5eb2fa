"""Permissions over HTTP: each route with each role and without a key, and no decision on one's own request."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, cast

import httpx
import pytest

from app import create_app
from app.dashboard.framework.cookies import SESSION
from app.deps import Deps
from cli.devstack import Stack
from domain.identity.access import GRANTS, Permission, Role, who_may
from domain.identity.person import ROLES
from services.kernel.connection_pool import open_engine
from services.kernel.unit_of_work import Database
from tests.api.conftest import Team
from tests.browser.people import add_person
from tests.conftest import Recorded

People = dict[Role, httpx.Client]
Clients = Callable[..., httpx.Client]

# Without a key or a session: what monitors ask, what tells how to use the API, and the ways in.
PUBLIC = {
    "/healthz",
    "/readyz",
    "/v1/health",
    "/.well-known/jwks.json",
    "/openapi.json",
    "/docs",
    "/docs/start.js",
    "/docs/assets/<name>",
    "/docs/guide",
    "/docs/guide/",
    "/docs/guide/<path:path>",
    "/",
    "/assets/<path:filename>",
    "/sign-in",
    "/sign-in/link/<token>",
    "/sign-in/oidc",
    "/sign-in/oidc/return",
    "/r/<token>",
}
# The status of an open route for an object that does not exist.
ELSEWHERE = {
    "/": 303,
    "/docs/guide": 308,
    "/docs/guide/<path:path>": 404,
    "/sign-in/link/<token>": 404,
    "/r/<token>": 404,
    "/sign-in/oidc": 404,
    "/sign-in/oidc/return": 404,
}


@dataclass(frozen=True)
class Route:
    """`page`: for signed-in people; of one without a permission every one of them."""

    path: str
    method: str
    permission: Permission | None
    page: bool

    @property
    def url(self) -> str:
        """The URL of an object that does not exist."""
        url = self.path
        for name, nothing in NOTHING.items():
            url = url.replace(f"<{name}>", nothing)
        return url


# Their errors have the shapes of other clients.
DOORS = ("/compat/", "/aap/", "/mcp")
PREFIXES = {
    "watch": "wch",
    "endpoint": "ep",
    "delivery": "dlv",
    "key": "key",
    "definition": "def",
    "person": "usr",
    "notification": "ntf",
}
NOTHING = {
    **{f"{name}_id": f"{prefix}_{'0' * 32}" for name, prefix in PREFIXES.items()},
    "trace_id": "0" * 32,
    "trace:trace_id": "0" * 32,
    "watch:watch_id": f"wch_{'0' * 32}",
    "step_span_id": "0" * 16,
    "span": "0" * 16,
    "namespace": "nothing",
    "group_name": "nothing",
    "name": "nothing",
    "call_id": "nothing",
    "hold_id": f"hld_{'0' * 32}",
    "task_id": "nothing",
    "session_id": "0" * 64,
    "token": "nothing",
    "request_id": "nothing",
    "path:filename": "style.css",
    "path:path": "nothing",
}


def _routes() -> list[Route]:
    """Every path and method with the permission it asks for, from the app itself; no view is run here."""
    app = create_app(Deps(*cast(Any, [None] * len(fields(Deps)))))
    return [
        Route(rule.rule, method, getattr(view, "permission", None), getattr(view, "signed_in", False))
        for rule in app.url_map.iter_rules()
        for view in [app.view_functions[rule.endpoint]]
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


@pytest.fixture(scope="module")
def people(stack: Stack, team: Team) -> Iterator[People]:
    """One of each role that people have, signed in."""
    engine = open_engine(stack.settings.database_url, pool_size=1, name="test")
    database = Database(engine, Recorded(), stack.url)
    clients = {}
    for role in ROLES:
        token = add_person(database, role, namespaces=[team.namespace]).token
        clients[role] = httpx.Client(base_url=stack.url, cookies={SESSION: token})
    yield clients
    for client in clients.values():
        client.close()
    engine.dispose()


ROUTES = _routes()
# Its requests are signed instead, see tests/clients/terraform.
SIGNED = "/terraform/<key_id>"
API = [route for route in ROUTES if route.permission is not None and not route.page and route.path != SIGNED]
PAGES = [route for route in ROUTES if route.page]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_only_these_routes_are_open_to_everyone() -> None:
    assert {route.path for route in ROUTES if route.permission is None and not route.page} == PUBLIC


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_every_name_in_a_path_is_known(route: Route) -> None:
    """A new name in a path is added above, or the tests below would ask for something else."""
    assert "<" not in route.url


@pytest.mark.parametrize("route", API, ids=name_of)
def test_a_route_lets_in_the_roles_that_have_its_permission_and_no_other(
    route: Route, stack: Stack, team: Team, people: People
) -> None:
    """A permitted request gets further, to 404 or to a missing body."""
    assert route.permission is not None
    answers = {role: getattr(team, role).request(route.method, route.url) for role in Role}
    if route.path.startswith(("/v1/groups/<group_name>", "/v1/receipt-keys")):
        # These are for all namespaces, and so are the admins who change them.
        headers = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}
        answers[Role.ADMIN] = httpx.request(route.method, stack.url + route.url, headers=headers)
    let_in = {role for role, answer in answers.items() if answer.status_code not in (401, 403)}
    assert let_in == GRANTS[route.permission]
    for role in set(Role) - let_in:
        assert answers[role].status_code == 403
        if route.path.startswith(DOORS):
            assert who_may(route.permission) in answers[role].text
            continue
        assert answers[role].json()["code"] == "FORBIDDEN"
        assert who_may(route.permission) in answers[role].json()["detail"]
    # A browser sends its cookies along with whatever another site makes it send: here they count for nothing.
    for nobody in (httpx.Client(base_url=stack.url), people[Role.ADMIN]):
        answer = nobody.request(route.method, route.url)
        assert answer.status_code == 401
        assert route.path.startswith(DOORS) or answer.json()["code"] == "UNAUTHENTICATED"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", PAGES, ids=name_of)
def test_a_page_lets_in_the_people_whose_role_has_its_permission_and_no_other(
    route: Route, stack: Stack, people: People, team: Team
) -> None:
    """A key opens no page. A permitted person gets further: to the error of an expired form, or to 404."""
    for nobody in (httpx.Client(base_url=stack.url), team.admin):
        answer = nobody.request(route.method, route.url, follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/sign-in?next=")
    for role, browser in people.items():
        if route.path == "/inbox/events":
            continue
        answer = browser.request(route.method, route.url, follow_redirects=False)
        may = route.permission is None or role in GRANTS[route.permission]
        if route.method == "GET":
            assert (answer.status_code == 403) == (not may), answer.text
            assert answer.status_code in (200, 303, 304, 403, 404, 422)
        else:
            assert answer.status_code == 403
            assert ("your role" in answer.text.lower()) == (not may)
            assert ("this form has expired" in answer.text.lower()) == may
    assert httpx.get(stack.url + "/account", cookies=people[Role.ADMIN].cookies).status_code == 200


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_an_open_route_answers_without_a_key(path: str, stack: Stack) -> None:
    url = Route(path, "GET", None, False).url.replace("/docs/assets/nothing", "/docs/assets/swagger-ui.css")
    status = httpx.get(stack.url + url).status_code
    # The sources carry no guide until it is built.
    assert status == ELSEWHERE.get(path, 200) or (path, status) == ("/docs/guide/", 404)


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
