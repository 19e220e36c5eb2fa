"""The diagrams in docs/ are those of the tables that the engine runs by."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOW = "docs/states.md is not what the transition tables say: python -m domain.diagram > docs/states.md"


def test_the_page_is_current() -> None:
    """As the command writes it that the page names."""
    made = subprocess.run(
        [sys.executable, "-m", "domain.diagram"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "states.md").read_text() == made.stdout, HOW
