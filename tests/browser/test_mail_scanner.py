"""A mail and what looks at mails: scanners follow every link, and some run the page. Only a person's press decides."""

import re
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from playwright.sync_api import BrowserContext, expect

from cli.devstack import Stack
from services.notifications.recipients import LISTENS_FOR
from tests.adapters.notify.mail_server import MailServer
from tests.browser.agent import Agent

_LINK = re.compile(r"""https?://[^\s'"<>]+""")
_ATTRIBUTE = re.compile(r"""(?:href|src|action|formaction|data-[a-z-]+)=["']([^"']+)["']""")
# Pages that a scanner looks at before it has seen enough of a host.
ENOUGH = 60


def links(mail: EmailMessage) -> set[str]:
    return {link for part in mail.walk() if not part.is_multipart() for link in _LINK.findall(part.get_content())}


def follow(found: set[str], host: str) -> list[str]:
    """HEAD and GET whatever is named, on this host, with the cookies that it gives; the places that were there."""
    seen: set[str] = set()
    there: list[str] = []
    waiting = sorted(found)
    with httpx.Client(follow_redirects=True, timeout=5) as scanner:
        while waiting and len(seen) < ENOUGH:
            url = waiting.pop(0)
            if url in seen or urlsplit(url).netloc != host or url.endswith("/events"):
                continue
            seen.add(url)
            scanner.head(url)
            answer = scanner.get(url)
            if answer.is_success:
                there.append(urlsplit(str(answer.url)).path)
            if "html" in answer.headers.get("content-type", ""):
                waiting += [urljoin(str(answer.url), place) for place in _ATTRIBUTE.findall(answer.text)]
    return there


def told(agent: Agent, server: MailServer) -> tuple[str, EmailMessage]:
    """Return a review with its mail. The first channel takes a moment to count, so only the mail names its review."""
    posted = {"Pay 5 €": agent.post("Pay 5 €")}
    if not server.came(1, 2 * LISTENS_FOR):
        posted["Pay 6 €"] = agent.post("Pay 6 €")
    mail = server.wait_for(1)[0]
    (watch_id,) = [watch_id for action, watch_id in posted.items() if action in mail["Subject"]]
    return watch_id, mail


def untouched(pause: dict[str, Any]) -> bool:
    return (pause["status"], pause["votes"], pause["claim"], pause["revision"]) == ("pending", [], None, 1)


def test_a_scanner_follows_every_link_and_decides_nothing(
    visit: Callable[..., BrowserContext], client_for: Callable[..., httpx.Client], namespace: str, stack: Stack
) -> None:
    """Nor does one that runs what the page brings. After them the link still is what it was."""
    admin, agent = client_for("admin"), Agent(client_for("agent"))
    with MailServer() as server:
        email = f"{namespace}@example.com"
        new = {"email": email, "name": "Anne Archer", "role": "reviewer", "namespaces": [namespace]}
        admin.post("/v1/people", json=new | {"channels": [server.url(email)]}).raise_for_status()
        watch_id, mail = told(agent, server)
    found = links(mail)
    assert len(found) == 1
    there = follow(found, urlsplit(stack.url).netloc)
    assert there.count(f"/review/{watch_id}") > 1
    (link,) = found
    scanner = visit().new_page()
    scanner.goto(link)
    scanner.wait_for_load_state("load")
    expect(scanner.get_by_role("heading", level=1)).to_have_text(re.compile("Pay . €"))
    # A page that submits itself has done so after two frames.
    scanner.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert untouched(agent.read(watch_id))
    person = visit().new_page()
    person.goto(link)
    person.get_by_role("button", name="Approve", exact=True).click()
    expect(person.locator("#progress #outcome .pill")).to_have_text("approved")
    decision = agent.read(watch_id)["decision"]
    assert (decision["outcome"], decision["decidedBy"][:4]) == ("approved", "usr_")
