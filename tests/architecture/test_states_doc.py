"""The diagrams in docs/ are those of the tables that the engine runs by."""

from pathlib import Path

from lint.states_diagram import page

ROOT = Path(__file__).parents[2]
HOW = "docs/states.md is not what the transition tables say: python -m lint.states_diagram > docs/states.md"


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "states.md").read_text() == page(), HOW
