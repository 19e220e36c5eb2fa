"""The output of the demo."""

from rich.console import Console
from rich.text import Text


class Narrator:
    def __init__(self, screen: Console) -> None:
        self._screen = screen

    def chapter(self, title: str) -> None:
        self._screen.print()
        self._screen.print(title, style="bold")

    def line(self, who: str, what: str | Text) -> None:
        """Print one line. `who` is empty if the previous line names the same actor."""
        self._screen.print(Text.assemble("  ", (f"{who:<10}", "cyan"), what))
