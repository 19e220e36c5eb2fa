"""Each page with something on it: no barrier in light and dark, no sideways scroll on a small phone, no trouble."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import insert

from cli.devstack import Stack
from domain.delivery.webhook import FAILING_AFTER
from models.webhooks import webhook_failures
from services.kernel.unit_of_work import Database
from tests.browser.agent import Agent, client_of
from tests.browser.axe import violations
from tests.browser.conftest import needed
from tests.browser.install import no_axe
from tests.browser.layout import PHONE, sideways
from tests.browser.people import Person, add_person
from tests.browser.routes import rules
from tests.sagas import Sagas, deploy, manifests

# Address, and what is to be on it. {names} are those of `Scene`.
PAGES = {
    "/account": "Rita",
    "/audit": "pause.created",
    "/audit/verify": "",
    "/charts": "",
    "/endpoints": "hooks.example.com",
    "/groups": "Finance",
    "/inbox": "Refund order 1042",
    "/inbox/decided": "Delete the old backups",
    "/inbox/decide?decision=approve&pick={watch_id}.1": "Refund order 1042",
    "/keys": "test agent",
    "/notifications": "",
    "/people": "Rita",
    "/people/{person_id}": "Rita",
    "/review/{watch_id}": "Refund order 1042",
    "/review/{decided_id}": "Delete the old backups",
    "/review/{step_id}": "held: Two",
    "/sagas": "held",
    "/sagas/{trace_id}": "held",
    "/webhooks": "Failing receivers",
    "/webhooks/{delivery_id}": "pause.rejected",
}
# Routes that are no pages, or that have their own tests: sign-in, links, parts for scripts, and files.
APART = {
    "/",
    "/assets/<path:filename>",
    "/audit/export",
    "/charts/<name>.svg",
    "/inbox/events",
    "/r/<token>",
    "/review/<watch_id>/progress",
    "/review/<watch_id>/receipt",
    "/sagas/<trace_id>/progress",
    "/sign-in",
    "/sign-in/link/<token>",
    "/sign-in/oidc",
    "/sign-in/oidc/return",
}
LONG = "a-word-without-an-end-" * 12


@dataclass(frozen=True)
class Scene:
    """A namespace with something of everything."""

    person: Person
    watch_id: str
    decided_id: str
    step_id: str
    trace_id: str
    delivery_id: str

    def path(self, page: str) -> str:
        named = {"watch_id": self.watch_id, "decided_id": self.decided_id, "step_id": self.step_id}
        more = {"trace_id": self.trace_id, "delivery_id": self.delivery_id, "person_id": self.person.id}
        return page.format(**named, **more)


@pytest.fixture(scope="module")
def scene(stack: Stack, stack_database: Database) -> Iterator[Scene]:
    """Share one scene among all tests of this module, because they change nothing."""
    namespace = f"pages-{uuid4().hex[:12]}"
    with ExitStack() as undo:
        roles = ("agent", "reviewer", "admin")
        clients = {role: undo.enter_context(client_of(stack, namespace, role, f"test {role}")) for role in roles}
        owner = undo.enter_context(client_of(stack, "*", "admin", "test owner"))
        person = add_person(stack_database, "admin", namespaces=[namespace], name="Rita Ray", groups=[f"{namespace}-f"])
        owner.put(f"/v1/groups/{namespace}-f", json={"description": f"Finance {LONG}"}).raise_for_status()
        fail_a_receiver(stack_database, namespace)
        yield make_scene(namespace, clients, person)


def fail_a_receiver(database: Database, namespace: str) -> None:
    """As its third failure in a row leaves it."""
    row = {"lane": f"http://{LONG}.example.com {namespace}", "namespace": namespace, "failures": FAILING_AFTER}
    with database.transaction() as uow:
        uow.conn.execute(insert(webhook_failures).values(**row, since=uow.now, failed_at=uow.now, error=LONG))


def make_scene(namespace: str, clients: dict[str, httpx.Client], person: Person) -> Scene:
    agent, admin = Agent(clients["agent"]), clients["admin"]
    values = {"customer": {"name": "Ada", "orders": [1, 2, {"note": LONG}]}, LONG: True}
    watch_id = agent.post(
        "Refund order 1042",
        context=values,
        arguments={"order": 1042, "amount_cents": 12900, "reason": LONG},
        tags=["money", "x" * 64],
        priority=9,
        review={"approvals": 2},
        metadata={"door": "x" * 40, "client": {"tool": "Bash", LONG: LONG, "cwd": "/" + LONG}, "submission": values},
    )
    # No server listens there.
    decided_id = agent.post(f"Delete the old backups of {LONG}", callbackUrl="http://127.0.0.1:9/hook")
    clients["reviewer"].post(f"/api/pause/{decided_id}/reject", json={"comment": LONG}).raise_for_status()
    for manifest in manifests(namespace):
        deploy(admin, manifest)
    trace_id, _ = Sagas(clients["agent"], admin).held(input={"value": LONG})
    (held,) = admin.get("/v1/sagas/pending-review", params={"trace_id": trace_id}).json()["items"]
    endpoint = {"url": f"https://hooks.example.com/{LONG}", "event_types": ["pause.created"], "namespaces": [namespace]}
    admin.post("/v1/webhooks/endpoints", json=endpoint).raise_for_status()
    deliveries = admin.get("/v1/webhooks/deliveries", params={"namespace": namespace}).json()["items"]
    (delivery_id,) = [each["id"] for each in deliveries if each["url"].endswith("/hook")]
    return Scene(person, watch_id, decided_id, held["watch_id"], trace_id, delivery_id)


def test_no_page_is_left_out() -> None:
    there = {str(rule) for rule in rules() if "GET" in (rule.methods or ())}
    looked_at = {page.split("?")[0] for page in PAGES}
    plain = {page.replace("{", "<").replace("}", ">") for page in looked_at}
    assert there - APART <= plain, "a new page: add it to PAGES, or to APART"


def look(page: Page, scene: Scene, path: str) -> None:
    page.goto(scene.path(path))
    expect(page.locator("main")).to_contain_text(PAGES[path])
    # Folded parts belong to the page too.
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")


@pytest.mark.parametrize("path", PAGES)
def test_no_barrier(signed_in: Callable[..., Page], scene: Scene, path: str) -> None:
    needed(no_axe())
    for scheme in ("light", "dark"):
        page = signed_in(who=scene.person, color_scheme=scheme)
        look(page, scene, path)
        assert violations(page) == [], scheme
        page.context.close()


@pytest.mark.parametrize("path", PAGES)
def test_nothing_scrolls_sideways_on_a_small_phone(signed_in: Callable[..., Page], scene: Scene, path: str) -> None:
    page = signed_in(who=scene.person, **PHONE)
    look(page, scene, path)
    assert sideways(page) == []


# Enter in a field presses the first submit button of its form. A dialog's button outside a dialog sends nothing.
BY_ENTER = """
() => [...document.forms].filter(form => form.method === "post").flatMap(form => {
    const first = form.querySelector("button:not([type=button]), input[type=submit], input[type=image]");
    return first?.formMethod === "dialog" ? [] : [first?.getAttribute("formaction") ?? form.getAttribute("action")];
})
"""


def test_no_form_does_by_enter_what_cannot_be_taken_back(signed_in: Callable[..., Page], scene: Scene) -> None:
    page, forms = signed_in(who=scene.person), 0
    for path in PAGES:
        page.goto(scene.path(path))
        forms += page.locator("form[method=post]").count()
        # The page that shows what an edit changes decides nothing.
        assert {each.rpartition("/")[2] for each in page.evaluate(BY_ENTER)} <= {"change"}, path
    assert forms > len(PAGES)
