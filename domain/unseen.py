"""Characters that nobody sees, or that act instead: in what an agent wrote they may make it read as something else."""

import re
import unicodedata

# Letters and marks that have no shape: fillers, the blank of Braille, selectors of variants.
SHAPELESS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u2800\u3164\uffa0\ufe00-\ufe0d\U000e0100-\U000e01ef]"
)


def is_hidden(char: str) -> bool:
    """Control, format (the directions, widths of zero, tags), private, unassigned, ends of lines that are no \\n."""
    if char.isprintable():
        return SHAPELESS.match(char) is not None
    return char not in "\n\t" and unicodedata.category(char) != "Zs"
