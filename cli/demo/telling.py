"""How the demo's stories look."""

from rich.console import Console
from rich.text import Text


class Narrator:
    def __init__(self, screen: Console) -> None:
        self._screen = screen

    def chapter(self, title: str) -> None:
        self._screen.print()
        self._screen.print(title, style="bold")

    def line(self, who: str, what: str | Text) -> None:
        """`who`: empty where it is the same as in the line before."""
        self._screen.print(Text.assemble("  ", (f"{who:<10}", "cyan"), what))
