"""The inbox as a browser gets it: order, filters, pages, several decided at once, and the stream of changes."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text, update

from app.dashboard.framework.cookies import SESSION
from cli.devstack import Stack
from models.people import sessions
from services.identity.tokens import hash_of
from services.kernel.pagination import SEARCHED
from services.kernel.unit_of_work import Database
from tests.api.conftest import form_token, until
from tests.browser.people import add_person

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def browser(stack: Stack, stack_database: Database, namespace: str) -> Iterator[Callable[..., httpx.Client]]:
    """`browser(groups=["finance"])`: of a new reviewer of the test's namespace, signed in."""
    opened: list[httpx.Client] = []

    def make(role: str = "reviewer", **more: Any) -> httpx.Client:
        who = add_person(stack_database, role, **{"namespaces": [namespace], **more})
        opened.append(httpx.Client(base_url=stack.url, cookies={SESSION: who.token}, timeout=70))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def post(client_for: Callable[..., httpx.Client]) -> Callable[..., str]:
    agent = client_for("agent")

    def make(action: str, **fields: Any) -> str:
        made = agent.post("/api/pause", json={"action": action, **fields})
        assert made.status_code == 201, made.text
        watch_id: str = made.json()["watchId"]
        return watch_id

    return make


def shown(html: str) -> list[str]:
    """The actions of the rows, in their order."""
    return [unescape(found) for found in re.findall(r"data-keys-open>(.*?)</a>", html)]


def inbox(client: httpx.Client, **query: str) -> str:
    answer = client.get("/inbox", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_most_urgent_first_then_the_oldest(browser: Callable[..., httpx.Client], post: Callable[..., str]) -> None:
    for action, priority in (("old", 0), ("middling", 3), ("young", 0), ("burning", 9)):
        post(action, priority=priority)
    html = inbox(browser())
    assert shown(html) == ["burning", "middling", "old", "young"]
    assert "<title>(4) Inbox – Sagahold</title>" in html


def test_a_row_shows_the_action_the_requester_and_the_deadline(
    browser: Callable[..., httpx.Client],
    post: Callable[..., str],
    client_for: Callable[..., httpx.Client],
    namespace: str,
) -> None:
    """A row also shows the action at the time limit, and instants in UTC for browsers without JavaScript."""
    allowed = {"review": None, "allowed_on_timeout": ["expire", "approve"]}
    client_for("admin").put(f"/v1/namespaces/{namespace}", json=allowed).raise_for_status()
    post("Pay", arguments={"cents": 12900}, onTimeout="approve", tags=["money"], review={"approvals": 2})
    html = unescape(inbox(browser("reviewer"), text="pay"))
    assert "requested by <b>test agent</b> <time" in html
    assert re.search(r"is approved automatically <time datetime=\"[^\"]+\">\d{4}-\d\d-\d\d \d\d:\d\d UTC</time>", html)
    assert 'If approved, the agent goes ahead with <code>{"cents": 12900}</code>' in html
    assert '<span class="pill">money</span>' in html
    assert "0 of 2 approvals" in html


def test_filters(browser: Callable[..., httpx.Client], post: Callable[..., str], namespace: str) -> None:
    """Each of them, and what is no filter."""
    anyone, finance = browser(), browser(groups=["finance"])
    post("Deploy the shop", tags=["deploy"], metadata={"door": "claude-hook"})
    post("Deploy 100 % of it", review={"groups": ["finance"]})
    both = ["Deploy the shop", "Deploy 100 % of it"]
    assert shown(inbox(anyone)) == shown(inbox(anyone, namespace=namespace, kind="agent")) == both
    assert shown(inbox(anyone, kind="step")) == shown(inbox(anyone, namespace="default")) == []
    assert shown(inbox(anyone, tag="deploy")) == ["Deploy the shop"]
    assert shown(inbox(anyone, text="100 %")) == ["Deploy 100 % of it"]
    assert shown(inbox(anyone, door="claude-hook")) == ["Deploy the shop"]
    assert "came through: Claude Code" in inbox(anyone, door="claude-hook")
    assert '<option value="my-client" selected>' in inbox(anyone, door="my-client")
    assert shown(inbox(anyone, door=HOSTILE)) == both
    assert shown(inbox(anyone, mine="1")) == ["Deploy the shop"]
    assert shown(inbox(finance, mine="1")) == both
    assert shown(inbox(anyone, kind="nonsense", cursor="nonsense", mine="nonsense", more="x")) == both
    assert "No waiting review matches the filter" in inbox(anyone, text=HOSTILE)


def test_pages(browser: Callable[..., httpx.Client], post: Callable[..., str]) -> None:
    """Each review is on one of them, with the filter kept."""
    for number in range(33):
        post(f"Number {number}", priority=number % 3)
    client = browser()
    first = inbox(client, text="number")
    link = re.search(r'id="next" href="([^"]+)">', first)
    assert link is not None
    second = client.get(unescape(link[1])).text
    assert "text=number" in link[1]
    assert (len(shown(first)), len(shown(second))) == (30, 3)
    assert sorted(shown(first) + shown(second)) == sorted(f"Number {number}" for number in range(33))
    assert "<title>(33) Inbox" in first
    assert " data-live" in first
    assert " data-live" not in second
    assert re.search(r'id="next" href="/inbox" hidden>', second)


def test_a_page_without_a_match_leads_on(
    browser: Callable[..., httpx.Client],
    post: Callable[..., str],
    client_for: Callable[..., httpx.Client],
    stack_database: Database,
    namespace: str,
) -> None:
    """Where a search ends that has read as many rows as it may: on both lists of reviews."""
    waiting, decided = post("Rare"), post("Rare")
    client_for("reviewer").post(f"/api/pause/{decided}/approve").raise_for_status()
    with stack_database.transaction() as uow:
        for status, resolved_at in (("pending", None), ("approved", uow.now)):
            filler = """INSERT INTO pauses (id, created_at, resolved_at, revision, priority, namespace, kind, status,
                    on_timeout, created_by, decided_by, action, stage, reminders)
                SELECT gen_random_uuid(), now(), :at, 1, 9, :namespace, 'agent', :status, 'expire', 'x',
                    CASE :status WHEN 'approved' THEN 'y' END, 'Often', 0, 0
                FROM generate_series(1, :rows)"""
            values = {"rows": SEARCHED + 1, "namespace": namespace, "status": status, "at": resolved_at}
            uow.conn.execute(text(filler), values)
    client = browser()
    for path, empty, watch_id in (
        ("/inbox", 'matches the filter<span id="so-far"> so far', waiting),
        ("/inbox/decided", "No match so far. The next page continues the search.", decided),
    ):
        first = client.get(path, params={"text": "rare"}).text
        assert empty in first
        link = re.search(r'href="([^"]+cursor=[^"]+)"', first)
        assert link is not None
        second = client.get(unescape(link[1])).text
        assert f"/review/{watch_id}" in second
        assert not re.search(r'"so-far">|No match so far', second)


def test_what_agents_write_stays_text(browser: Callable[..., httpx.Client], post: Callable[..., str]) -> None:
    """Everywhere on the pages, also in what the stream sends."""
    watch_id = post(HOSTILE, arguments={HOSTILE: HOSTILE}, tags=["<i>tag</i>"])
    client = browser(name="<i>name</i>")
    pages = [
        inbox(client, text="<i>text</i>"),
        inbox(client),
        client.get("/inbox/decide", params={"decision": "approve", "pick": f"{watch_id}.1"}).text,
    ]
    with events(client) as heard:
        pages += next(heard)["rows"].values()
    for html in pages:
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "<i>" not in html
    assert shown(pages[1]) == [HOSTILE]


def test_other_namespaces_are_not_there(
    browser: Callable[..., httpx.Client], post: Callable[..., str], namespace: str, elsewhere: str
) -> None:
    """Not in the list, not when asked for by name, not when picked."""
    watch_id = post("Secret")
    client = browser(namespaces=[elsewhere])
    for html in (inbox(client), inbox(client, namespace=namespace), inbox(client, text="Secret")):
        assert "(0)" not in html
        assert shown(html) == []
    html = client.get("/inbox/decide", params={"decision": "approve", "pick": f"{watch_id}.1"}).text
    assert "Secret" not in html
    assert "Nothing to approve" in html
    with events(client) as heard:
        assert next(heard) == {"count": "0", "order": [], "rows": {}, "cursor": None}


def test_an_empty_inbox_tells_how_to_fill_it(
    browser: Callable[..., httpx.Client], stack: Stack, namespace: str
) -> None:
    html = unescape(inbox(browser()))
    assert "<title>Inbox – Sagahold</title>" in html
    assert f"curl {stack.url}/api/pause" in html
    assert f'"namespace": "{namespace}"' in html


@pytest.mark.parametrize("path", ["/inbox", "/inbox/events", "/inbox/decide?decision=approve"])
def test_strangers_are_sent_to_sign_in(stack: Stack, path: str) -> None:
    answer = httpx.get(stack.url + path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/sign-in?next=%2Finbox")


def test_several_at_once(
    browser: Callable[..., httpx.Client], post: Callable[..., str], client_for: Callable[..., httpx.Client]
) -> None:
    """First a page that decides nothing and leaves out what takes more than a yes; then each has an outcome."""
    reader = client_for("reviewer")

    def status(watch_id: str) -> str:
        return str(reader.get(f"/api/pause/{watch_id}").json()["status"])

    one, two, contested = post("One"), post("Two", review={"approvals": 2}), post("Contested")
    browser(groups=["finance"])
    others = post("For others", review={"groups": ["finance"]})
    form, gone = post("Which?", responseSchema={"type": "object"}), post("Gone")
    reader.post(f"/api/pause/{gone}/reject").raise_for_status()
    client = browser()
    picks = [f"{each}.1" for each in (one, two, contested, form, gone, others)]
    html = client.get("/inbox/decide", params={"decision": "approve", "pick": [*picks, f"{one}.7"]}).text
    assert re.findall(r'name="pick" value="(\w+)\.1"', html) == [one, two, contested]
    for why in (
        "needs a response",
        "it is already rejected",
        "was edited after you selected it",
        "you are not an eligible voter",
    ):
        assert why in html
    assert [status(each) for each in (one, two, contested)] == ["pending"] * 3
    reader.post(f"/api/pause/{contested}/reject").raise_for_status()
    answer = client.post(
        "/inbox/decide",
        data={"decision": "approve", "pick": picks[:4], "comment": "fine", "csrf_token": form_token(html)},
    )
    assert answer.status_code == 200
    told = dict(re.findall(r'/review/(\w+)">[^<]*</a>: (.*?)</span>', answer.text))
    assert told[one] == "approved"
    assert told[two] == "your vote is recorded; 1 of 2 approvals, so it waits for other votes"
    assert told[contested] == "it was already rejected by test reviewer"
    assert "required" in told[form]
    assert [status(each) for each in (one, two, contested, form)] == ["approved", "pending", "rejected", "pending"]
    assert reader.get(f"/api/pause/{one}").json()["decision"]["comment"] == "fine"


def test_a_decision_without_its_token_or_sense_is_refused(
    browser: Callable[..., httpx.Client], post: Callable[..., str], client_for: Callable[..., httpx.Client]
) -> None:
    watch_id = post("Not yet")
    client = browser()
    form = {"decision": "approve", "pick": f"{watch_id}.1", "csrf_token": form_token(inbox(client))}
    for change, status in (
        ({"csrf_token": "0" * 64}, 403),
        ({"decision": "perhaps"}, 422),
        ({"pick": watch_id}, 422),
        ({"pick": f"{watch_id}.²"}, 422),
        ({"pick": [f"{watch_id}.{number}" for number in range(101)]}, 422),
        ({"comment": "x" * 10_001}, 422),
    ):
        answer = client.post("/inbox/decide", data=form | change)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert client_for("reviewer").get(f"/api/pause/{watch_id}").json()["status"] == "pending"
    assert client.post("/inbox/decide", data=form | {"pick": f"{watch_id}.2"}).status_code == 200
    assert client_for("reviewer").get(f"/api/pause/{watch_id}").json()["status"] == "pending"


@contextmanager
def events(client: httpx.Client, path: str = "/inbox/events") -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the stream's events; an event other than a change of reviews is {"event": …}."""
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield _parsed(answer.iter_lines())


def _parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    kind, silence = "", 0
    for line in lines:
        # Every few seconds of silence there is one.
        silence += line.startswith(": nothing new")
        assert silence < 8, "it told nothing for long"
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield json.loads(line.removeprefix("data: ")) if kind == "reviews" else {"event": kind}


def test_the_stream_tells_of_what_comes_and_what_goes(
    browser: Callable[..., httpx.Client], post: Callable[..., str], client_for: Callable[..., httpx.Client]
) -> None:
    """Only what the filter asks for; a row is sent again only when it looks otherwise."""
    first = post("First deploy")
    with events(browser(), "/inbox/events?text=deploy") as heard:
        begun = next(heard)
        assert (begun["count"], begun["order"], list(begun["rows"])) == ("1", [first], [first])
        post("Something else")
        second = post("Second deploy", priority=5)
        added = next(heard)
        assert (added["count"], added["order"], list(added["rows"])) == ("2", [second, first], [second])
        assert shown(added["rows"][second]) == ["Second deploy"]
        client_for("reviewer").post(f"/api/pause/{first}/approve").raise_for_status()
        assert next(heard) == {"count": "1", "order": [second], "rows": {}, "cursor": None}


def test_a_claim_is_seen_by_the_others(browser: Callable[..., httpx.Client], post: Callable[..., str]) -> None:
    watch_id = post("Mine")
    claimer = browser(name="Carla Claims")
    with events(browser()) as heard:
        next(heard)
        done = claimer.post(f"/review/{watch_id}/claim", data={"csrf_token": form_token(inbox(claimer))})
        assert done.status_code == 303, done.text
        assert "Claimed by Carla Claims" in next(heard)["rows"][watch_id]


def test_an_open_page_keeps_no_session_alive(browser: Callable[..., httpx.Client], stack_database: Database) -> None:
    """Only what a person does counts as being there."""
    client = browser()
    mine = sessions.c.hash == hash_of(client.cookies[SESSION])
    with stack_database.transaction() as uow:
        uow.conn.execute(update(sessions).where(mine).values(seen_at=uow.now - timedelta(hours=11)))

    def idle() -> timedelta:
        with stack_database.transaction() as uow:
            seen_at: datetime = uow.conn.execute(select(sessions.c.seen_at).where(mine)).scalar_one()
            return uow.now - seen_at

    with events(client) as heard:
        next(heard)
    assert idle() > timedelta(hours=10)
    inbox(client)
    assert idle() < timedelta(hours=1)


def test_the_stream_ends_when_the_person_signs_out(
    browser: Callable[..., httpx.Client], held: Callable[[], float]
) -> None:
    """An open stream takes one of the places for long polls."""
    client = browser()
    with events(client) as heard:
        next(heard)
        until(lambda: held() == 1)
        cookie = dict(client.cookies)
        client.post("/sign-out", data={"csrf_token": form_token(inbox(client))})
        assert list(heard) == [{"event": "signed-out"}]
    assert httpx.get(f"{client.base_url}/inbox/events", cookies=cookie).status_code == 303
