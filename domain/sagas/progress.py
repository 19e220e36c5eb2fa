"""The progress of a call according to its tool. Pages show it, and no rule depends on it."""

import math
from typing import Any

# Characters of the tool's message.
MAX_MESSAGE = 200


def progress_document(
    span: str, attempt: int, done: float, total: float | None, message: str | None
) -> dict[str, Any] | None:
    """Return the execution and its progress, or None if the tool's figure is not a finite number."""
    if not math.isfinite(done):
        return None
    usable = total is not None and math.isfinite(total) and total > 0
    words = (message or "").encode("utf-8", "replace").decode().replace("\x00", "\ufffd").strip()
    return {
        "span": span,
        "attempt": attempt,
        "done": done,
        "total": total if usable else None,
        "message": words if len(words) <= MAX_MESSAGE else words[:MAX_MESSAGE] + "…",
    }
