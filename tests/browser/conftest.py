"""Real Chromium on the shared stack. A test that ends with an error on a page, or a request to elsewhere, fails."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from cli.devstack import Stack
from services.kernel.unit_of_work import Database
from tests.browser.install import CHROMIUM, no_browser, required
from tests.browser.people import Person, add_person
from tests.browser.troubles import Troubles

# Nothing of Chromium's own calls home, and nothing needs a graphics card.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # As root there is no sandbox to have.
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
)
# Not a measure of anything: the machine may have much else to do.
PATIENCE_MS = 90_000
expect.set_options(timeout=PATIENCE_MS)


def needed(why: str | None) -> None:
    """Skips the test, or fails it where no skip is allowed."""
    if why is not None:
        (pytest.fail if required() else pytest.skip)(why)


# Module scope, because an open browser makes this thread count as one that runs an asyncio loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needed(no_browser())
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def troubles(stack: Stack) -> Iterator[Troubles]:
    """The errors on the test's pages; a test declares expected ones by `troubles.expect`."""
    seen = Troubles(stack.url)
    yield seen
    assert seen.unexpected() == []


@pytest.fixture
def visit(browser: Browser, stack: Stack, troubles: Troubles) -> Iterator[Callable[..., BrowserContext]]:
    """`visit(**options)`: a new browser context, as of a browser started for the first time."""
    opened: list[BrowserContext] = []

    def make(**options: object) -> BrowserContext:
        context = browser.new_context(base_url=stack.url, **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        troubles.watch(context)
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()


@pytest.fixture
def person(stack_database: Database, namespace: str) -> Callable[..., Person]:
    """`person("reviewer", groups=["finance"])`: a new person in the test's namespace, with a session."""

    def make(role: str = "reviewer", **more: object) -> Person:
        return add_person(stack_database, role, **{"namespaces": [namespace], **more})  # type: ignore[arg-type]

    return make


@pytest.fixture
def signed_in(visit: Callable[..., BrowserContext], person: Callable[..., Person], stack: Stack) -> Callable[..., Page]:
    """`signed_in("reviewer", who=anne, viewport=…)`: a page in a browser of its own, with that person signed in."""

    def make(role: str = "reviewer", who: Person | None = None, **options: object) -> Page:
        context = visit(**options)
        context.add_cookies([(who or person(role)).cookie(stack.url)])
        return context.new_page()

    return make


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Keeps a screenshot for the README, only where `SCREENSHOTS=docs/images` asks for it: tests change no files."""

    def take(page: Page, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take
