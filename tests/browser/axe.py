"""The accessibility engine on a page as it is now: axe-core, with the rules of WCAG 2.2 A and AA."""

from typing import Any

from playwright.sync_api import Page

from tests.browser.install import AXE

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page: Page) -> list[str]:
    """One line for each rule that is broken: which, and where."""
    if not page.evaluate("() => 'axe' in globalThis"):
        page.evaluate((AXE / "axe.min.js").read_text())
    run = "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})"
    found: dict[str, Any] = page.evaluate(run, RULES)
    return [
        f"{broken['id']} ({broken['impact']}): {broken['help']}: {[node['html'][:120] for node in broken['nodes'][:3]]}"
        for broken in found["violations"]
    ]
