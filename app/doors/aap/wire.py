"""A pause as an approval request of the protocol.

Its clients deny a call whose response has an unknown field, a null, or a submitted field that changed. They run the
call as they submitted it, so an approval of edited arguments is a denial that names them.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.doors.aap.submission import window
from domain.pauses.consumption import ExecutionStatus
from domain.pauses.door import object_in
from domain.pauses.pause import Pause, Status
from domain.pauses.serialization import instant
from domain.pauses.validity import valid_until
from domain.values import canonical_json

PENDING, APPROVED, DENIED, EXPIRED, CANCELLED = "pending", "approved", "denied", "expired", "cancelled"
_STATUS = {
    Status.PENDING: PENDING,
    Status.APPROVED: APPROVED,
    Status.REJECTED: DENIED,
    Status.EXPIRED: EXPIRED,
    Status.CANCELLED: CANCELLED,
}


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A pause that this door created."""

    pause: Pause
    # The JSON object as it was submitted.
    submitted: str
    # The end of the window. An escalation gives the reviewers more time, but not the adapter.
    deadline: datetime

    @classmethod
    def of(cls, pause: Pause) -> "ApprovalRequest | None":
        """Return the request; None if this door did not create the pause, whatever its metadata say."""
        try:
            submitted = (pause.metadata or {})["submission"]["json"]
            return cls(pause, submitted, pause.created_at + window(json.loads(submitted)["timeout"]))
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def status(self) -> str:
        decision = self.pause.decision
        if decision is None:
            return PENDING
        if self.pause.status is not Status.CANCELLED and decision.at >= self.deadline:
            return EXPIRED
        return DENIED if self._edited else _STATUS[self.pause.status]

    @property
    def _edited(self) -> bool:
        posted = self.pause.posted_arguments
        return (
            self.pause.status is Status.APPROVED
            and posted is not None
            and canonical_json.digest(posted) != self.pause.arguments_digest
        )

    def text(self) -> str:
        """Return the response: the submitted text, continued by the state."""
        state = json.dumps(self._state(), ensure_ascii=False, separators=(",", ":"))
        return f"{self.submitted.rstrip().removesuffix('}').rstrip()},{state[1:]}"

    def _state(self) -> dict[str, Any]:
        pause = self.pause
        state = {
            "id": str(pause.id),
            "status": self.status,
            "created_at": instant(pause.created_at),
            "deadline_at": instant(self.deadline),
        }
        return state | self._decision() | self._consumption()

    def _decision(self) -> dict[str, Any]:
        decision, status = self.pause.decision, self.status
        if decision is None:
            return {}
        at = max(decision.at, self.pause.created_at)
        document = {"status": status, "decided_at": instant(min(at, self.deadline) if status == EXPIRED else at)}
        if note := self._note():
            document["note"] = note
        until = valid_until(self.pause)
        if status == APPROVED and until is not None:
            document["expires_at"] = instant(until)
        return {"decision": document}

    def _note(self) -> str:
        decision = self.pause.decision
        assert decision is not None, "a note is part of a decision"
        comment = (decision.comment or "").strip()
        if self._edited and self.status == DENIED:
            accepted = canonical_json.encode(self.pause.arguments)
            told = f"The reviewer approved other arguments. Request approval of a call with these: {accepted}"
            return f"{comment}\n{told}" if comment else told
        return comment

    def _consumption(self) -> dict[str, Any]:
        used = self.pause.consumption
        if used is None or self.status != APPROVED:
            return {}
        document: dict[str, Any] = {"consumed_at": instant(used.at)}
        report = used.report
        # The protocol has no unknown outcome.
        if report is not None and report.status is not ExecutionStatus.UNKNOWN:
            outcome = {"status": str(report.status), "reported_at": instant(max(report.at, used.at))}
            document["outcome"] = outcome | ({"note": report.note} if report.note else {})
        return {"consumption": document}


def submitted_digest(pause: Pause) -> str | None:
    """Return the digest of the submission; None if this door did not create the pause."""
    return object_in(pause.metadata, "submission").get("digest")
