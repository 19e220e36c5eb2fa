"""The decision on one tool call: by the rules, or by a person on the server."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cli.held_action import VALID_FOR, ActionDesk, AlreadyUsed, HeldAction, Request, StillPending, same
from cli.hook.events import PERMISSION, Event, allowed, deferred, denied
from cli.hook.rules import Rule
from cli.hook.state import State
from domain.pauses.pause import Status
from domain.values import canonical_json

DOOR = "claude-hook"
MAX_TRANSCRIPT = 8 * 1024 * 1024
# Claude Code writes its transcript beside its hooks: on a busy machine the call appears some seconds later.
TRANSCRIPT_WITHIN = 10.0
TRANSCRIPT_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides held calls.

    Args:
        defer: end the session while the decision is open, where the rule or the command asks for it.
    """

    desk: ActionDesk
    state: State
    defer: bool

    def decide(self, event: Event, rule: Rule) -> dict[str, Any]:
        """Return the answer to a call that is held."""
        if event.name == PERMISSION and self._runs_already(event):
            return allowed(event, "", None, None)
        external_id = external_id_of(event)
        earlier = [held for held in self.desk.find(external_id) if same(held.posted, event.arguments)]
        held = _of_same_call(event, earlier) or _open(earlier) or self._requested(event, rule, external_id, earlier)
        if held.status is Status.PENDING and self.defer and is_only_call(event, self.desk.until):
            return deferred(event)
        try:
            return self._answer(event, held)
        except AlreadyUsed:
            if held.client.get("call") == event.call[:200]:
                return denied(event, _used(held))
        # An equal call that ran at the same time has used the approval of both.
        return self._answer(event, self._requested(event, rule, external_id, self.desk.find(external_id)))

    def _answer(self, event: Event, held: HeldAction) -> dict[str, Any]:
        try:
            held = self.desk.wait(held)
        except StillPending:
            return denied(event, _later(held))
        if not held.approved:
            return denied(event, _refusal(held))
        return self._use(event, held)

    def _requested(self, event: Event, rule: Rule, external_id: str, earlier: list[HeldAction]) -> HeldAction:
        # A permission request has no id of its call; the number of earlier requests tells it from them.
        call = event.call or f"permission {len(earlier)}"
        key = hashlib.sha256(f"{DOOR}\n{event.session}\n{call}\n{external_id}".encode("utf-8", "replace")).hexdigest()
        fields: dict[str, Any] = {} if rule.review is None else {"review": dict(rule.review)}
        if rule.expires_in is not None:
            fields["expiresIn"] = rule.expires_in
        client = {
            "tool": event.tool[:200],
            "cwd": event.cwd[:200],
            "session": event.session[:200],
            "call": event.call[:200],
            "mode": event.text("permission_mode"),
            "subagent": event.text("agent_type"),
        }
        return self.desk.request(Request(key, event.action, event.arguments, DOOR, client, external_id, fields))

    def _use(self, event: Event, held: HeldAction) -> dict[str, Any]:
        call = event.call or f"permission {held.watch_id}"
        self.state.record(event.session, call, held.watch_id)
        used = self.desk.consume(held)
        reason = f"Approved by {used.decided_by} ({used.watch_id})."
        if not used.edited:
            return allowed(event, reason, None, used.comment)
        changed = ", ".join(_changed(used))
        context = f"The person who approved this call changed its input ({changed}). It runs with the changed input."
        return allowed(event, reason, used.arguments, f"{context} {used.comment or ''}".rstrip())

    def _runs_already(self, event: Event) -> bool:
        """Return whether this call was approved a moment ago, before its permissions asked again."""
        for used in self.state.of_session(event.session):
            held = self.desk.get(used.watch_id)
            ours = held.client.get("tool") == event.tool[:200] and same(held.arguments, event.arguments)
            if ours and held.approved and held.used and held.outcome is None:
                return True
        return False


def external_id_of(event: Event) -> str:
    """Return the name that equal calls of one session share."""
    digest = canonical_json.digest({"tool": event.tool, "input": event.arguments}).hex()
    session = hashlib.sha256(event.session.encode("utf-8", "surrogatepass")).hexdigest()
    return f"claude:{session[:16]}:{digest[:32]}"


def _of_same_call(event: Event, earlier: list[HeldAction]) -> HeldAction | None:
    """Return the request of this very call: the hook was restarted, or the session resumed."""
    if not event.call:
        return None
    return next((held for held in earlier if held.client.get("call") == event.call[:200]), None)


def _open(earlier: list[HeldAction]) -> HeldAction | None:
    """Return the request that an equal, earlier call has made, if it still counts for this one."""
    for held in earlier:
        if held.status is Status.PENDING or (held.approved and not held.used and not _is_over(held.valid_until)):
            return held
        # A rejection answers equal calls for a while: a model must not ask until a person gives in.
        if held.status is Status.REJECTED and not _is_over(held.decided_at, VALID_FOR):
            return held
    return None


def _is_over(instant: str | None, seconds: float = 0) -> bool:
    return instant is not None and datetime.fromisoformat(instant) + timedelta(seconds=seconds) < datetime.now(UTC)


def _later(held: HeldAction) -> str:
    return (
        f"This call still waits for a person's decision: {held.review_url} It did not run. Do not work around it. "
        "To wait longer, make exactly the same call again; it continues the same request."
    )


def _used(held: HeldAction) -> str:
    return (
        f"The approval of this call was used before, and the call may have run ({held.review_url}). Find out whether "
        "it did, and ask the user. If each call gets this answer, the hook is installed twice."
    )


def _refusal(held: HeldAction) -> str:
    advice = {
        Status.REJECTED: "Do not run it in another way; do what the comment says, or ask the user.",
        Status.EXPIRED: "No decision came in time. Ask the user before you make the call again.",
    }.get(held.status, "Ask the user before you make the call again.")
    return f"The call did not run: {held.why} ({held.review_url}). {advice}"


def _changed(held: HeldAction) -> list[str]:
    before, after = held.posted or {}, held.arguments or {}
    names = sorted(before.keys() | after.keys())
    return [name for name in names if not same({"": before.get(name)}, {"": after.get(name)})]


def is_only_call(event: Event, until: float) -> bool:
    """Return whether the transcript shows this call as the only open one, once it shows the call.

    Claude Code may ignore `defer` beside other calls and ask its own permissions instead, which may let the call run.
    """
    until = min(until, time.monotonic() + TRANSCRIPT_WITHIN)
    while (found := _open_calls(event.transcript)) is not None and event.call not in found:
        if time.monotonic() > until:
            return False
        time.sleep(TRANSCRIPT_EVERY)
    return found == {event.call}


def _open_calls(file: Path | None) -> set[str] | None:
    """Return the calls without a result: none while the transcript cannot be read, None if it is not read at all."""
    found: set[str] = set()
    try:
        if file is None or file.stat().st_size > MAX_TRANSCRIPT:
            return None
        for part in _parts(file.read_text(encoding="utf-8")):
            if part.get("type") == "tool_use":
                found.add(str(part.get("id")))
            elif part.get("type") == "tool_result":
                found.discard(str(part.get("tool_use_id")))
    except (OSError, ValueError, TypeError, AttributeError):
        return set()
    return found


def _parts(transcript: str) -> Iterator[dict[str, Any]]:
    for line in transcript.splitlines():
        content = (json.loads(line).get("message") or {}).get("content")
        yield from (part for part in content if isinstance(part, dict)) if isinstance(content, list) else ()
