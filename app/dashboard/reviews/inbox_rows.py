"""One review as a line of the inbox: what it is, and what will happen when somebody says yes, or says nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.deps import deps
from domain.pauses.pause import STEP
from services.identity.display_names import names_of

# From here on the time that is left is shown as a warning.
SOON = timedelta(minutes=60)
# Characters of the arguments: enough to recognise them; the review's own page shows them all.
SUBJECT = 240


@dataclass(frozen=True, slots=True)
class InboxRow:
    """
    Attributes:
        asker: the name of the key or person that asks.
        approving: what happens on approval, up to the subject.
        subject: what will be executed or used, as JSON. cut: that is only its beginning.
    """

    pause: dict[str, Any]
    asker: str
    approving: str
    subject: str | None
    cut: bool
    soon: bool


def rows_of(pauses: Sequence[dict[str, Any]]) -> list[InboxRow]:
    names = names_of(deps().database, {pause["createdBy"] for pause in pauses})
    return [_row(pause, names.get(pause["createdBy"], pause["createdBy"])) for pause in pauses]


def _row(pause: dict[str, Any], asker: str) -> InboxRow:
    arguments, expires_at = pause["agentContext"]["arguments"], pause["expiresAt"]
    subject = None if arguments is None else json.dumps(arguments, ensure_ascii=False)
    cut = subject is not None and len(subject) > SUBJECT
    return InboxRow(
        pause,
        asker,
        approving=_approving(pause),
        subject=f"{subject[:SUBJECT]}…" if subject is not None and cut else subject,
        cut=cut,
        soon=expires_at is not None and datetime.fromisoformat(expires_at) - datetime.now(UTC) < SOON,
    )


def _approving(pause: dict[str, Any]) -> str:
    context = pause["agentContext"]["context"]
    if pause["kind"] != STEP:
        answer = " with your answer" if pause["responseSchema"] is not None else ""
        given = " with" if pause["agentContext"]["arguments"] is not None else ""
        return f"the agent goes on{answer}{' and' if answer and given else ''}{given}"
    tool = context.get("tool")
    return f"the saga calls {tool} with" if tool else "the saga goes on with this answer"
