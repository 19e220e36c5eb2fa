"""A row of the inbox: the review, and the consequences of an approval."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.deps import deps
from domain.pauses.client_words import client_words
from domain.pauses.pause import STEP
from services.identity.display_names import names_of

# A shorter remaining time is shown as a warning.
SOON = timedelta(minutes=60)
# Characters of the arguments in a row: enough to recognise them; the review's page shows all.
SUBJECT = 240


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A row of the inbox.

    Attributes:
        requester: the name of the key or person that created the review.
        door: the door through which it came, as people call it, or None.
        approving: the consequence of an approval, up to the subject.
        subject: the arguments or output as JSON.
        cut: `subject` is only the beginning of the JSON.
    """

    pause: dict[str, Any]
    requester: str
    door: str | None
    approving: str
    subject: str | None
    cut: bool
    soon: bool


def rows_of(pauses: Sequence[dict[str, Any]]) -> list[InboxRow]:
    names = names_of(deps().database, {pause["createdBy"] for pause in pauses})
    return [_row(pause, names.get(pause["createdBy"], pause["createdBy"])) for pause in pauses]


def _row(pause: dict[str, Any], requester: str) -> InboxRow:
    arguments, expires_at = pause["agentContext"]["arguments"], pause["expiresAt"]
    subject = None if arguments is None else json.dumps(arguments, ensure_ascii=False)
    cut = subject is not None and len(subject) > SUBJECT
    return InboxRow(
        pause,
        requester,
        client_words(pause["metadata"]).title,
        approving=_approving(pause),
        subject=f"{subject[:SUBJECT]}…" if subject is not None and cut else subject,
        cut=cut,
        soon=expires_at is not None and datetime.fromisoformat(expires_at) - datetime.now(UTC) < SOON,
    )


def _approving(pause: dict[str, Any]) -> str:
    context = pause["agentContext"]["context"]
    if pause["kind"] != STEP:
        response = " with your response" if pause["responseSchema"] is not None else ""
        arguments = " with" if pause["agentContext"]["arguments"] is not None else ""
        return f"the agent goes ahead{response}{' and' if response and arguments else ''}{arguments}"
    tool = context.get("tool")
    return f"the saga calls {tool} with" if tool else "the saga continues with this output"
