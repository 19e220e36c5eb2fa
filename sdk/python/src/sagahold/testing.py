"""A reviewer for tests of agent code. It needs no server, and the SDK behaves as it does with one.

with FakeApprover() as approver:
    approver.edit(cents=9900)
    refund(order=1042, cents=12900)
assert approver.pauses[0].outcome.status == "succeeded"
"""

import json
from collections import deque
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from sagahold import canonical_json
from sagahold.client import active_fakes
from sagahold.pauses import Pause, read_pause
from sagahold.protocol import Answer, Call

NOW = "2026-01-01T00:00:00.000Z"
Document = dict[str, Any]


class FakeApprover:
    """A reviewer that decides as the test has said, in the order in which the code asks, and approves all other pauses.

    While it is active (`with`), every client talks to it instead of a server, and no client sleeps.
    """

    def __init__(self) -> None:
        self._decisions: deque[tuple[str, Document]] = deque()
        self._documents: dict[str, Document] = {}  # by watchId
        self._keys: dict[str, tuple[bytes | None, str]] = {}  # Idempotency-Key → body and watchId
        self._users: dict[str, str] = {}  # watchId → the key of the consume
        self._outages = 0
        # The body of each new request, by the names of the API.
        self.requests: list[Document] = []

    def __enter__(self) -> "FakeApprover":
        active_fakes.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        active_fakes.remove(self)

    def approve(self, comment: str | None = None, response: Any = None) -> None:
        self._decisions.append(("approved", {"comment": comment, "response": response}))

    def edit(self, comment: str | None = None, /, **arguments: Any) -> None:
        """Approve with these arguments changed."""
        self._decisions.append(("approved", {"comment": comment, "arguments": arguments}))

    def reject(self, comment: str | None = None) -> None:
        self._decisions.append(("rejected", {"comment": comment}))

    def expire(self) -> None:
        """Let the time for a decision run out."""
        self._decisions.append(("expired", {}))

    def cancel(self) -> None:
        self._decisions.append(("cancelled", {}))

    def approve_too_early(self) -> None:
        """Approve, and let the approval expire before it is used."""
        self._decisions.append(("approved", {"late": True}))

    def disconnect(self, requests: int) -> None:
        """Answer none of the next requests, as if the network was down. 0 ends the outage."""
        self._outages = requests

    @property
    def pauses(self) -> list[Pause]:
        """The pauses so far, in the order in which the code asked."""
        return [read_pause(document) for document in self._documents.values()]

    def answer(self, call: Call) -> Answer:
        if self._outages:
            self._outages -= 1
            return Answer(0, b"FakeApprover is disconnected")
        body = json.loads(call.body or b"{}")
        _, _, _, *rest = map(unquote, call.path.split("/"))
        if not rest:
            return self._create(call, body) if call.method == "POST" else self._list(call)
        document = self._documents.get(rest[0])
        if document is None:
            return _problem(404, "NOT_FOUND", f"{rest[0]!r} is not the id of a pause")
        verb = rest[1] if rest[1:] else "get"
        if verb == "events":
            event = {"type": f"pause.{document['status']}", "timestamp": NOW, "data": document}
            return Answer(200, f"id: 2\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        if verb == "consume":
            return self._consume(document, call.headers["Idempotency-Key"], body)
        if verb == "outcome":
            return self._outcome(document, body)
        if verb == "cancel":
            return _problem(409, "ALREADY_RESOLVED", f"the pause is {document['status']}")
        return _ok(document)

    def _create(self, call: Call, body: Document) -> Answer:
        key = call.headers["Idempotency-Key"]
        known, watch_id = self._keys.setdefault(key, (call.body, f"wch_{uuid4().hex}"))
        if known != call.body:
            return _problem(422, "IDEMPOTENCY_KEY_REUSED", "the key was used for another request")
        if watch_id not in self._documents:
            self.requests.append(body)
            self._documents[watch_id] = self._decided(watch_id, body)
        return _ok(self._documents[watch_id])

    def _decided(self, watch_id: str, body: Document) -> Document:
        outcome, more = self._decisions.popleft() if self._decisions else ("approved", {})
        posted = body.get("arguments")
        arguments = posted if posted is None else posted | more.get("arguments", {})
        decision = {
            "outcome": outcome,
            "decidedBy": "system" if outcome == "expired" else "fake-approver",
            "decidedAt": NOW,
            "comment": more.get("comment"),
            "arguments": arguments,
            "response": more.get("response"),
            "validUntil": NOW if "late" in more else None,
        }
        return {
            "watchId": watch_id,
            "status": outcome,
            "agentContext": {"action": body["action"], "context": body.get("context", {}), "arguments": arguments},
            "postedArguments": posted,
            "argumentsDigest": None if arguments is None else canonical_json.digest(arguments),
            "revision": 1,
            "reviewUrl": f"http://fake-approver/review/{watch_id}",
            "decision": decision,
            "externalId": body.get("externalId"),
            "metadata": body.get("metadata", {}),
        }

    def _list(self, call: Call) -> Answer:
        wanted = {name: value for name, value in call.params.items() if name in ("status", "externalId")}
        consumed = call.params.get("consumed")
        items = [
            document
            for document in reversed(self._documents.values())
            if all(document[name] == value for name, value in wanted.items())
            and consumed in (None, str("consumption" in document).lower())
        ]
        return _ok({"items": items, "next_cursor": None})

    def _consume(self, document: Document, key: str, body: Document) -> Answer:
        if document["status"] != "approved":
            return _problem(409, "NOT_APPROVED", f"the pause is {document['status']}")
        if document["decision"]["validUntil"]:
            return _problem(409, "APPROVAL_EXPIRED", "the approval was not used in time")
        if body.get("argumentsDigest", document["argumentsDigest"]) != document["argumentsDigest"]:
            return _problem(409, "ARGUMENTS_CHANGED", "these are not the approved arguments")
        if self._users.setdefault(document["watchId"], key) != key:
            return _problem(409, "ALREADY_CONSUMED", "the approval was used before")
        document.setdefault("consumption", {"consumedAt": NOW})
        return _ok(document)

    def _outcome(self, document: Document, body: Document) -> Answer:
        if "consumption" not in document:
            return _problem(409, "NOT_CONSUMED", "consume the approval first")
        if document["consumption"].setdefault("outcome", body | {"reportedAt": NOW}) != body | {"reportedAt": NOW}:
            return _problem(409, "OUTCOME_CONFLICT", "another outcome was reported")
        return _ok(document)


def _ok(document: Document) -> Answer:
    return Answer(200, json.dumps(document).encode())


def _problem(status: int, code: str, detail: str) -> Answer:
    return Answer(status, json.dumps({"status": status, "code": code, "detail": detail}).encode())
