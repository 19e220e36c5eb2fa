"""Errors of a page: a failure, a violation of its policy, a request to another server, or injected code that runs."""

import re
import time

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Error, Page, Request

# Told as an error on the console, from where it is collected with everything else.
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", event =>
    console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""

SEEN_SECONDS, LOOK_MS = 90.0, 20


class Troubles:
    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._seen: list[str] = []
        self._expected: list[str] = []

    def expect(self, pattern: str) -> None:
        """Expect an error that matches the regular expression, for instance a response that the test provokes."""
        self._expected.append(pattern)

    def unexpected(self) -> list[str]:
        return [each for each in self._seen if not any(re.search(pattern, each) for pattern in self._expected)]

    def wait_for(self, page: Page, pattern: str) -> None:
        """Browsers tell of things a moment later."""
        deadline = time.monotonic() + SEEN_SECONDS
        while not any(re.search(pattern, each) for each in self._seen):
            assert time.monotonic() < deadline, (pattern, self._seen)
            page.wait_for_timeout(LOOK_MS)

    def watch(self, context: BrowserContext) -> None:
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._said)
        context.on("weberror", lambda raised: self._failed(raised.error))
        context.on("request", self._asked)
        context.on("page", self._watch_page)

    def _watch_page(self, page: Page) -> None:
        page.on("dialog", self._opened)
        page.on("crash", lambda _: self._seen.append("the page crashed"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._seen.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _failed(self, error: Error) -> None:
        self._seen.append(f"script: {error}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self._origin}/", "data:", "blob:")):
            self._seen.append(f"request to elsewhere: {request.url}")

    def _opened(self, dialog: Dialog) -> None:
        if dialog.type != "beforeunload":
            self._seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()
