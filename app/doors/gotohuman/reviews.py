"""The review requests of gotoHuman's client, as pauses."""

from dataclasses import dataclass
from typing import Any

from domain.values.errors import FieldError, Invalid

MAX_TEXT, MAX_URL, MAX_VOTERS = 480, 2048, 100
_TEXTS = {"formId": MAX_TEXT, "agentId": MAX_TEXT, "sessionId": MAX_TEXT, "title": MAX_TEXT, "webhookUrl": MAX_URL}
_OBJECTS = ("fields", "meta", "config", "workflow")
_LISTS = ("assignTo", "assignToGroups")
_KEPT = ("formId", "agentId", "sessionId", "title", "meta", "config", "workflow")
_NO_UPDATE = (
    "is not supported: reviewers decide on what they have seen, so cancel the earlier review on its page or through"
    " /api/pause/{id}/cancel, and send a new one"
)


@dataclass(frozen=True, slots=True)
class Review:
    """A review request. The client leaves out what it has no value for."""

    body: dict[str, Any]

    @property
    def submission(self) -> dict[str, Any]:
        """The fields that the result repeats, and those that have no equal here."""
        return {name: self.body[name] for name in _KEPT if name in self.body}

    @property
    def wanted(self) -> dict[str, Any]:
        """Fields of `PauseRequest`."""
        body = self.body
        found: dict[str, Any] = {
            "action": body.get("title") or f"Review {body['formId']}",
            "arguments": body["fields"],
            "metadata": {"client": self._client()},
        }
        context = {name: body[name] for name in ("meta", "config", "workflow") if body.get(name)}
        if context:
            found["context"] = context
        voters = {"assignees": body.get("assignTo"), "groups": body.get("assignToGroups")}
        if any(voters.values()):
            found["review"] = {name: value for name, value in voters.items() if value}
        if "webhookUrl" in body:
            found |= {"callback_url": body["webhookUrl"], "callback_format": "gotohuman"}
        return found

    def _client(self) -> dict[str, str]:
        meta = self.body.get("meta", {})
        found = {"tool": self.body["formId"], "agent": self.body.get("agentId"), "session": self.body.get("sessionId")}
        found["thread"] = meta.get("threadId")
        return {name: value[:200] for name, value in found.items() if isinstance(value, str) and value}

    @property
    def warnings(self) -> list[str]:
        """Tell the client which of its fields have no effect."""
        found = []
        if self.body.get("autoApprove"):
            found.append("autoApprove has no effect: an agent does not approve its own request")
        if "webhookUrl" not in self.body:
            found.append("without webhookUrl no result is sent in this format: read it on the page or in /api/pause")
        return found


def read_review(body: dict[str, Any]) -> Review:
    """Read a request. Raise `Invalid` with every field error."""
    found = []
    for name, most in _TEXTS.items():
        value = body.get(name)
        if name in body and not (isinstance(value, str) and 0 < len(value) <= most):
            found.append(FieldError(name, f"must be a text of 1 to {most} characters"))
    for name in ("formId", "fields"):
        if name not in body:
            found.append(FieldError(name, "is required"))
    found += [FieldError(name, "must be an object") for name in _OBJECTS if not isinstance(body.get(name, {}), dict)]
    for name in _LISTS:
        value = body.get(name, [])
        if not isinstance(value, list) or len(value) > MAX_VOTERS or not all(isinstance(each, str) for each in value):
            found.append(FieldError(name, f"must be a list of at most {MAX_VOTERS} texts"))
    if "updateForReviewId" in body:
        found.append(FieldError("updateForReviewId", _NO_UPDATE))
    if found:
        raise Invalid(found)
    return Review(body)
