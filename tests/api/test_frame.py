"""The notice on every page of the dashboard while no worker runs."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from app.dashboard.framework.cookies import SESSION
from app.http.key_cache import KeyCache
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import BEAT, stamp_worker
from services.kernel.unit_of_work import Database
from tests.api.alone import app_alone
from tests.browser.people import add_person
from tests.services.saga_world import start, step
from tests.services.world import change, one, post

NOTHING_GOES_ON = "Nothing is being sent or carried out."
PAGES = ("/inbox", "/sagas", "/sagas/{trace_id}", "/webhooks", "/notifications", "/review/{watch_id}")


@pytest.fixture
def browser(database: Database) -> Iterator[FlaskClient]:
    """An operator's."""
    who = add_person(database, "operator", namespaces=["default"])
    with app_alone(database, KeyCache(lambda hash_: None)).test_client() as client:
        client.set_cookie(SESSION, who.token)
        yield client


def seen(database: Database, *workers: str) -> None:
    with database.transaction() as uow:
        for worker in workers:
            stamp_worker(uow, worker)


def test_without_workers_each_page_says_that_nothing_goes_on(database: Database, browser: FlaskClient) -> None:
    watch_id = post(database)
    start(database, step("a"))
    trace_id = one(database, "SELECT id FROM sagas").hex
    paths = [path.format(watch_id=watch_id, trace_id=trace_id) for path in PAGES]
    seen(database, BEAT)
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code == 200, path
        assert NOTHING_GOES_ON in answer.text, path
    for polled in (f"/sagas/{trace_id}/progress", f"/review/{watch_id}/progress"):
        assert NOTHING_GOES_ON not in browser.get(polled).text
    seen(database, "one")
    for path in paths:
        assert NOTHING_GOES_ON not in browser.get(path).text, path
    change(database, "UPDATE worker_heartbeats SET seen_at = now() - interval '16 s'")
    assert NOTHING_GOES_ON in browser.get("/inbox").text


def test_a_database_that_goes_away_is_said_on_a_page(browser: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to those for whom the page's frame would look into it."""

    def away(*_: object, **__: object) -> object:
        raise DatabaseUnavailable("it is gone")

    for name in (
        "reviews.inbox.inbox",
        "framework.page_decorator.anybody_works",
        "framework.page_decorator.count_needing_operator",
    ):
        monkeypatch.setattr(f"app.dashboard.{name}", away)
    answer = browser.get("/inbox")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "Nothing is lost" in answer.text
