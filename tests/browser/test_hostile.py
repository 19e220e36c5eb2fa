"""Text from agents and people stays text on every page: none of it runs, even before a content policy stops it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.example import Example
from tests.browser.agent import Agent
from tests.browser.people import Person
from tests.sagas import Sagas, deploy, saga, step, worker

# Its square has more digits than any id or digest on a page will have by chance.
FACTOR = 12_345_678
# Each ends what it may stand in: an element, an attribute, a script, a comment, a template's expression.
ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\"'><svg onload=alert(3)>",
    "</textarea></script></title><script>alert(4)</script>",
    f"{{{{ {FACTOR} * {FACTOR} }}}}{{% for x in y %}}",
    "javascript:alert(5)",
    "--><iframe srcdoc='<script>alert(6)</script>'></iframe>",
)
ALL = " ".join(ATTACKS)
TAGS = ["<script>alert(7)</script>", "\"'><svg/onload=alert(8)>"]
# Text that reads otherwise than it is: the end of a line first, a name that looks like another.
TRICKS = "approve\u202e evorppa\u2066 \u200bzero width \ufeff"


def unharmed(page: Page) -> None:
    """Everything is there to read, and nothing of it is an element."""
    assert page.locator("img, iframe, svg[onload], [onerror], [onload], a[href^='javascript:']").count() == 0
    own = page.evaluate("[...document.scripts].every(each => each.src.startsWith(location.origin) && !each.text)")
    assert own
    assert str(FACTOR * FACTOR) not in page.content()


@pytest.fixture
def hostile(client_for: Callable[..., httpx.Client]) -> str:
    """A pause with attacks in everything that an agent can say."""
    agent = Agent(client_for("agent"))
    said = {attack: {attack: [attack]} for attack in ATTACKS}
    return agent.post(
        ALL[:400] + TRICKS,
        context={**said, "html": ALL, TRICKS: TRICKS},
        arguments={**said, "link": "javascript:alert(5)"},
        tags=TAGS,
        metadata={"door": "my-client", "client": dict.fromkeys([*ATTACKS, TRICKS], ALL), "submission": said, **said},
        responseSchema={
            "type": "object",
            "title": ALL,
            "properties": {attack: {"type": "string", "title": attack, "description": attack} for attack in ATTACKS},
        },
    )


def test_an_agent_s_words(
    signed_in: Callable[..., Page], hostile: str, client_for: Callable[..., httpx.Client]
) -> None:
    page = signed_in()
    page.goto("/inbox")
    expect(page.locator("#reviews > li")).to_have_count(1)
    unharmed(page)
    page.goto(f"/review/{hostile}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>alert(1)</script>")
    unharmed(page)
    page.get_by_label("Comment").fill(ALL)
    page.get_by_role("button", name="Reject", exact=True).click()
    expect(page.locator("#progress")).to_contain_text("<img src=x onerror=alert(2)>")
    unharmed(page)


def test_what_arrives_live(signed_in: Callable[..., Page], client_for: Callable[..., httpx.Client]) -> None:
    page = signed_in()
    page.goto("/inbox")
    expect(page.get_by_text("No reviews are waiting")).to_be_visible()
    Agent(client_for("agent")).post(ALL[:400], tags=TAGS)
    expect(page.locator("#reviews > li")).to_have_count(1)
    unharmed(page)


def test_an_edit_with_markup_is_shown_as_it_is(signed_in: Callable[..., Page], client_for: Callable[..., Any]) -> None:
    watch_id = Agent(client_for("agent")).post("Deploy", arguments={"a": ALL})
    page = signed_in()
    page.goto(f"/review/{watch_id}")
    page.get_by_text("Edit the arguments").click()
    page.get_by_label("Arguments as JSON").fill('{"<b>k</b>": "<img src=y onerror=alert(9)>"}')
    page.get_by_role("button", name="Preview changes").click()
    expect(page.get_by_role("row", name="<img src=y")).to_be_visible()
    unharmed(page)


def test_a_person_s_name(
    signed_in: Callable[..., Page], person: Callable[..., Person], client_for: Callable[..., Any]
) -> None:
    """Also to the others who look at the review."""
    watch_id = Agent(client_for("agent")).post("Deploy", review={"approvals": 2})
    mallory = signed_in(who=person(name=f"Mallory {ATTACKS[1]}"))
    mallory.goto(f"/review/{watch_id}")
    unharmed(mallory)
    mallory.get_by_role("button", name="Claim review").click()
    mallory.get_by_role("button", name="Approve", exact=True).click()
    expect(mallory.locator("#progress .votes li")).to_have_count(1)
    for path in (f"/review/{watch_id}", "/inbox", "/account"):
        mallory.goto(path)
        unharmed(mallory)
    page = signed_in("admin")
    for path in (f"/review/{watch_id}", "/inbox", "/people", "/audit"):
        page.goto(path)
        expect(page.locator("main")).to_be_visible()
        unharmed(page)


def test_a_tool_s_output_and_a_saga_s_names(
    signed_in: Callable[..., Page], client_for: Callable[..., httpx.Client], namespace: str
) -> None:
    admin, agent = client_for("admin"), client_for("agent")
    deploy(admin, worker(namespace))
    steps = [step("one", name=ATTACKS[1]), step("two", name=ATTACKS[2], hitl=True)]
    deploy(admin, saga(namespace, "hostile", *steps, description=ALL))
    sagas = Sagas(agent, admin)
    trace, _ = sagas.held("hostile", input={"value": ALL})
    page = signed_in("operator")
    page.goto(f"/sagas/{trace}")
    expect(page.locator("main")).to_contain_text("<img src=x onerror=alert(2)>")
    for path in ("/sagas", "/inbox", "/charts", "/webhooks"):
        page.goto(path)
        expect(page.locator("main")).to_be_visible()
        unharmed(page) if path != "/charts" else None


def test_a_model_s_answer(
    signed_in: Callable[..., Page], client_for: Callable[..., httpx.Client], namespace: str, tmp_path: Path
) -> None:
    """The mock repeats what it was asked about."""
    outreach = Example("outreach", tmp_path, namespace, client_for)
    trace = outreach.start(name=ATTACKS[1], to="ada@example.com", reason=ATTACKS[0])
    held = outreach.held(trace)
    page = signed_in("operator")
    page.goto(f"/review/{held['watch_id']}")
    expect(page.locator("main")).to_be_visible()
    unharmed(page)
    page.goto(f"/sagas/{trace}")
    unharmed(page)


def test_the_address_is_not_repeated_as_markup(signed_in: Callable[..., Page]) -> None:
    page = signed_in("admin")
    for path in (
        "/inbox?text=",
        "/inbox?tag=",
        "/inbox?namespace=",
        "/sagas?name=",
        "/audit?type=",
        "/webhooks?status=",
    ):
        page.goto(path + "%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        unharmed(page)
