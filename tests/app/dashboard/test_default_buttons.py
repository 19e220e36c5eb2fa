"""Each form in each template: Enter in a field never does what cannot be taken back."""

import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[3] / "app/dashboard/templates"
FORM = re.compile(r"<form\b([^>]*(?:\{\{.*?\}\}[^>]*)*)>(.*?)</form>", re.DOTALL)
POSTED = [
    (path.name, action, body)
    for path in sorted(TEMPLATES.glob("*.html"))
    for action, body in FORM.findall(path.read_text())
    if 'method="post"' in action
]
# Signing in, and the page that only shows what an edit changes.
BY_ENTER = ("/sign-in", "/change")


def test_forms_are_found() -> None:
    assert len(POSTED) > 30
    assert sum(path.read_text().count('method="post"') for path in TEMPLATES.glob("*.html")) == len(POSTED)


@pytest.mark.parametrize(("name", "attributes", "body"), POSTED)
def test_a_posted_form_begins_with_what_makes_enter_harmless(name: str, attributes: str, body: str) -> None:
    action = re.search(r'action="([^"]*(?:\{\{.*?\}\}[^"]*)*)"', attributes)
    may_send = name == "sign_in_link.html" or (action is not None and action[1].endswith(BY_ENTER))
    first = "{{ csrf_field(enter=true) }}" if may_send else "{{ csrf_field() }}"
    assert body.lstrip().startswith(first), f"{name}: {attributes}"
