"""Whether a page fits on the smallest phone that we know of."""

from playwright.sync_api import Page

WIDTH = 360
PHONE = {"viewport": {"width": WIDTH, "height": 740}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

LOOK = """
() => {
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth && root.clientWidth === %d) return [];
    const beyond = [...document.body.querySelectorAll("*")].filter(each => each.getBoundingClientRect().right > %d);
    return [`${root.scrollWidth} px`, ...beyond.slice(0, 5).map(each => each.outerHTML.slice(0, 100))];
}
"""


def sideways(page: Page) -> list[str]:
    """How wide the page is and what makes it so; nothing where it fits."""
    found: list[str] = page.evaluate(LOOK % (WIDTH, WIDTH))
    return found
