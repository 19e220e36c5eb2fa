"""What a tool says of how far its call has come: shown to people, and nothing depends on it."""

import math
from typing import Any

# Of its words.
MAX_MESSAGE = 200


def progress_document(
    span: str, attempt: int, done: float, total: float | None, message: str | None
) -> dict[str, Any] | None:
    """Of which execution it is, and how far that has come. None where it is of no use."""
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
